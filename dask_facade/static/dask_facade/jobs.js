// Reads each table of jobs anew every few seconds, unless somebody is about to click in it.
(() => {
  "use strict";
  if (window.daskJobs) return;
  window.daskJobs = true;

  const RESTING = 3000; // milliseconds: a pointer that has not moved for so long clicks nothing
  let moved = -RESTING;
  document.addEventListener("pointermove", () => { moved = performance.now(); }, { passive: true });

  const isInUse = (table) =>
    table.matches(":focus-within") ||
    (table.matches(":hover") && performance.now() - moved < RESTING);

  const read = async (id) => {
    const response = await fetch(window.location.href, {
      cache: "no-store",
      credentials: "same-origin",
    });
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    const found = page.getElementById(id);
    if (!response.ok || !found) throw new Error(`no table ${id} any more`);
    return document.adoptNode(found);
  };

  const renew = async (id) => {
    const shown = document.getElementById(id);
    if (!shown || document.hidden || isInUse(shown)) return;
    try {
      const found = await read(id);
      if (isInUse(shown)) return;
      const left = shown.scrollLeft;
      shown.replaceWith(found);
      found.scrollLeft = left;
    } catch {
      shown.classList.add("dask-stale"); // the site is away, or has forgotten who looks
    }
  };

  for (const { id, dataset } of document.querySelectorAll(".dask-jobs-table")) {
    const seconds = Number(dataset.refresh);
    if (!(seconds > 0)) continue;
    const later = () => setTimeout(() => renew(id).finally(later), 1000 * seconds);
    later();
    document.addEventListener("visibilitychange", () => renew(id));
  }
})();
