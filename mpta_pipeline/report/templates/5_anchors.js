// The id of an estimate is its permanent anchor: #f_… leads to the first place that shows it.
(() => {
  "use strict";
  const lead = () => {
    const name = location.hash.slice(1);
    if (!/^[fp]_[0-9a-f]{6,}$/.test(name)) return;
    const place = document.getElementById(name) || [...document.querySelectorAll("code.id")].find((c) => c.textContent.trim() === name);
    if (!place) return;
    for (let up = place.closest("details"); up; up = up.parentElement && up.parentElement.closest("details")) up.open = true;
    document.querySelectorAll(".cited").forEach((c) => c.classList.remove("cited"));
    place.classList.add("cited");
    place.scrollIntoView({ block: "center" });
  };
  addEventListener("hashchange", lead);
  lead();
})();
