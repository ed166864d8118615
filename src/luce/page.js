(function () {
  "use strict";
  function key(row, column) {
    var cell = row.cells[column], number = cell.querySelector("data");
    return number ? Number(number.value) : cell.textContent.trim();
  }
  function compare(a, b) {
    var numbers = typeof a === "number" && typeof b === "number";
    if (!numbers && typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
    return numbers ? a - b : a.localeCompare(b, undefined, { numeric: true });
  }
  function sortBy(table, head, column) {
    var up = head.getAttribute("aria-sort") !== "ascending", body = table.tBodies[0];
    var rows = Array.prototype.slice.call(body.rows);
    rows.sort(function (a, b) { return (up ? 1 : -1) * compare(key(a, column), key(b, column)); });
    rows.forEach(function (row) { body.appendChild(row); });
    Array.prototype.forEach.call(table.tHead.rows[0].cells, function (each) { each.removeAttribute("aria-sort"); });
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
  }
  document.querySelectorAll("table.sortable").forEach(function (table) {
    Array.prototype.forEach.call(table.tHead.rows[0].cells, function (head, column) {
      var button = document.createElement("button");
      button.type = "button";
      button.title = document.body.dataset.sort;
      while (head.firstChild) button.appendChild(head.firstChild);
      head.appendChild(button);
      button.addEventListener("click", function () { sortBy(table, head, column); });
    });
  });
  document.querySelectorAll(".pick").forEach(function (pick) {
    var items = Array.prototype.slice.call(pick.querySelectorAll(":scope > .item"));
    var label = document.createElement("label"), select = document.createElement("select");
    items.forEach(function (item, k) { select.add(new Option(item.querySelector("summary").textContent, String(k))); });
    function show() {
      items.forEach(function (item, k) { item.hidden = String(k) !== select.value; item.open = true; });
    }
    select.addEventListener("change", show);
    label.append(pick.dataset.label, select);
    pick.classList.add("chosen");
    pick.prepend(label);
    show();
  });
  var folded = [];
  window.addEventListener("beforeprint", function () {
    folded = Array.prototype.slice.call(document.querySelectorAll("details:not([open])"));
    folded.forEach(function (each) { each.open = true; });
  });
  window.addEventListener("afterprint", function () { folded.forEach(function (each) { each.open = false; }); });
})();
