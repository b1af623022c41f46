// Follows a run: asks for its progress while the page is visible, reloads when it has ended.
const root = document.getElementById("progress");
const bar = document.getElementById("bar");
const numbers = new Intl.NumberFormat("en");
const INTERVAL = 700;
const AFTER_ERROR = 3000;
let first = null;

function pace(completed) {
  const now = performance.now();
  if (first === null || completed < first.completed) first = { completed, now };
  const rate = (completed - first.completed) / ((now - first.now) / 1000);
  return rate > 0 ? ` · ${numbers.format(Math.round(rate))} files/s` : "";
}

function show({ completed, total, stalled }) {
  bar.value = completed;
  document.getElementById("completed").textContent = numbers.format(completed);
  document.getElementById("pace").textContent = completed < total ? pace(completed) : "";
  document.getElementById("last").hidden = completed < total;
  document.getElementById("stalled").hidden = !stalled;
}

function visible() {
  if (!document.hidden) return Promise.resolve();
  return new Promise((resolve) => document.addEventListener("visibilitychange", resolve, { once: true }));
}

async function follow() {
  for (;;) {
    await visible();
    let wait = INTERVAL;
    try {
      const response = await fetch(root.dataset.url, { headers: { Accept: "application/json" } });
      if (!response.ok) throw new Error(response.statusText);
      const progress = await response.json();
      show(progress);
      if (progress.ended) return location.reload();
    } catch {
      wait = AFTER_ERROR; // the server is away: keep what is shown and ask again
    }
    await new Promise((resolve) => setTimeout(resolve, wait));
  }
}

follow();
