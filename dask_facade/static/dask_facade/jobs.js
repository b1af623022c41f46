// Reads each table of jobs anew every few seconds, unless somebody is about to click in it.
(() => {
  "use strict";
  if (window.daskJobs) return;
  window.daskJobs = true;

  const renew = async (id) => {
    const shown = document.getElementById(id);
    if (!shown || document.hidden || shown.matches(":focus-within, :hover")) return;
    const response = await fetch(window.location.href, { credentials: "same-origin" });
    if (!response.ok) return;
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    const found = page.getElementById(id);
    if (found) shown.replaceWith(document.adoptNode(found));
  };

  for (const table of document.querySelectorAll(".dask-jobs-table")) {
    const seconds = Number(table.dataset.refresh);
    if (seconds > 0) setInterval(() => renew(table.id).catch(() => {}), 1000 * seconds);
  }
})();
