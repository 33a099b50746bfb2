"use strict";
(() => {
  const root = document.documentElement;
  root.classList.add("js");

  const dark = matchMedia("(prefers-color-scheme: dark)");
  const button = document.getElementById("theme");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : dark.matches);
  const nameTheme = () => {
    button.textContent = isDark() ? "Light" : "Dark";
    button.setAttribute("aria-label", `Switch to ${isDark() ? "light" : "dark"} colours`);
  };
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    nameTheme();
  });
  dark.addEventListener("change", nameTheme);
  nameTheme();

  const MOST_ZOOM = 16;
  const NEAR_PX = 28;
  const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

  class Viewer {
    constructor(element) {
      this.stage = element.querySelector(".stage");
      this.panes = { left: element.querySelector(".pane.left"), right: element.querySelector(".pane.right") };
      this.store = element.querySelector(".store");
      this.range = element.querySelector(".split");
      this.output = element.querySelector("output");
      this.selects = {};
      for (const select of element.querySelectorAll("select[data-side]")) {
        this.selects[select.dataset.side] = select;
        select.addEventListener("change", () => {
          this.show();
          showCommon();
        });
      }
      const images = [...this.stage.querySelectorAll("img")];
      this.layers = images.sort((one, other) => one.dataset.layer - other.dataset.layer);
      this.zoom = 1;
      this.x = 0; // of the picture's corner, in stage widths
      this.y = 0;
      this.pointers = new Map();
      this.range.addEventListener("input", () => this.split(Number(this.range.value)));
      for (const control of element.querySelectorAll("[data-zoom]")) {
        control.addEventListener("click", () => this.step(control.dataset.zoom));
      }
      element.addEventListener("keydown", (event) => this.key(event));
      this.stage.addEventListener("wheel", (event) => this.wheel(event, element), { passive: false });
      this.stage.addEventListener("pointerdown", (event) => this.press(event));
      this.stage.addEventListener("pointermove", (event) => this.move(event));
      for (const end of ["pointerup", "pointercancel"]) {
        this.stage.addEventListener(end, (event) => this.pointers.delete(event.pointerId));
      }
      this.show();
    }

    show() {
      const [left, right] = ["left", "right"].map((side) => this.layers[this.selects[side].value]);
      this.store.append(...this.layers);
      this.panes.left.append(left);
      if (right !== left) this.panes.right.append(right);
      for (const side of ["left", "right"]) {
        const select = this.selects[side];
        this.stage.querySelector(`.tag-${side}`).textContent = select.options[select.selectedIndex].textContent;
      }
      this.split(Number(this.range.value));
    }

    split(percent) {
      const value = clamp(percent, 0, 100);
      this.range.value = Math.round(value);
      this.stage.style.setProperty("--split", value);
      const name = (side) => this.selects[side].options[this.selects[side].selectedIndex].textContent;
      this.range.setAttribute("aria-valuetext", `${Math.round(value)} % ${name("left")}, the rest ${name("right")}`);
    }

    place() {
      this.x = clamp(this.x, 1 - this.zoom, 0);
      this.y = clamp(this.y, 1 - this.zoom, 0);
      const style = this.stage.style;
      style.setProperty("--zoom", this.zoom);
      style.setProperty("--x", this.x);
      style.setProperty("--y", this.y);
      this.stage.classList.toggle("zoomed", this.zoom > 1);
      this.stage.classList.toggle("pixels", this.zoom >= 3);
      this.output.textContent = `${Number(this.zoom.toFixed(1))}×`;
    }

    // The point (x, y) of the stage, in stage widths, stays where it is.
    zoomTo(zoom, x = 0.5, y = 0.5) {
      const next = clamp(zoom, 1, MOST_ZOOM);
      this.x = x - ((x - this.x) * next) / this.zoom;
      this.y = y - ((y - this.y) * next) / this.zoom;
      this.zoom = next;
      this.place();
    }

    step(way) {
      this.zoomTo(way === "in" ? this.zoom * 2 : way === "out" ? this.zoom / 2 : 1);
    }

    spot(event) {
      const box = this.stage.getBoundingClientRect();
      return { x: (event.clientX - box.left) / box.width, y: (event.clientY - box.top) / box.height, px: box.width };
    }

    wheel(event, element) {
      const meant = event.ctrlKey || event.metaKey || element.contains(document.activeElement);
      const moves = event.deltaY < 0 ? this.zoom < MOST_ZOOM : this.zoom > 1;
      if (!meant || !moves) return; // the page scrolls
      event.preventDefault();
      const { x, y } = this.spot(event);
      this.zoomTo(this.zoom * 2 ** (-clamp(event.deltaY, -100, 100) / 200), x, y);
    }

    press(event) {
      if (event.button !== 0) return;
      const spot = this.spot(event);
      this.pointers.set(event.pointerId, spot);
      this.stage.setPointerCapture(event.pointerId);
      const near = Math.abs(spot.x - Number(this.range.value) / 100) * spot.px < NEAR_PX;
      this.slides = this.zoom === 1 || near;
      if (this.slides && this.pointers.size === 1) this.split(100 * spot.x);
    }

    move(event) {
      const before = this.pointers.get(event.pointerId);
      if (!before) return;
      const spot = this.spot(event);
      if (this.pointers.size === 2) {
        const [other] = [...this.pointers].filter(([id]) => id !== event.pointerId).map(([, place]) => place);
        const apart = (place) => Math.hypot(place.x - other.x, place.y - other.y) || 1e-6;
        const middle = { x: (spot.x + other.x) / 2, y: (spot.y + other.y) / 2 };
        this.zoomTo((this.zoom * apart(spot)) / apart(before), middle.x, middle.y);
      } else if (this.slides) {
        this.split(100 * spot.x);
      } else {
        this.x += spot.x - before.x;
        this.y += spot.y - before.y;
        this.place();
      }
      this.pointers.set(event.pointerId, spot);
    }

    key(event) {
      if (event.target.tagName === "SELECT" || event.ctrlKey || event.metaKey || event.altKey) return;
      const zooms = { "+": "in", "=": "in", "-": "out", "−": "out", 0: "fit" };
      const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
      if (event.key in zooms) {
        this.step(zooms[event.key]);
      } else if (event.key in moves && event.target === this.stage) {
        const [x, y] = moves[event.key];
        if (this.zoom > 1) {
          this.x -= 0.1 * x;
          this.y -= 0.1 * y;
          this.place();
        } else if (x) {
          this.split(Number(this.range.value) + x);
        } else {
          return;
        }
      } else {
        return;
      }
      event.preventDefault();
    }
  }

  const viewers = [...document.querySelectorAll("[data-viewer]")].map((element) => new Viewer(element));
  const alls = document.querySelectorAll("select[data-all]");
  // What all pictures show; nothing where they differ, so that every choice is a change.
  const showCommon = () => {
    for (const all of alls) {
      const chosen = new Set(viewers.map((viewer) => viewer.selects[all.dataset.all].value));
      all.selectedIndex = chosen.size === 1 ? [...chosen][0] : -1;
    }
  };
  for (const all of alls) {
    all.addEventListener("change", () => {
      for (const viewer of viewers) {
        viewer.selects[all.dataset.all].value = all.value;
        viewer.show();
      }
    });
  }

  const table = document.getElementById("image-table");
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const texts = new Intl.Collator("en", { numeric: true });
  const sortBy = (column) => {
    const falling = column > 0
      ? heads[column].getAttribute("aria-sort") !== "descending"
      : heads[column].getAttribute("aria-sort") === "ascending";
    const value = (row) => Number(row.cells[column].dataset.v ?? NaN);
    const rows = [...body.rows].sort((one, other) => {
      if (column === 0) {
        return (falling ? -1 : 1) * texts.compare(one.cells[0].textContent, other.cells[0].textContent);
      }
      const [first, second] = [value(one), value(other)];
      if (Number.isNaN(first) || Number.isNaN(second)) return Number.isNaN(first) - Number.isNaN(second);
      return falling ? second - first : first - second;
    });
    body.append(...rows);
    for (const head of heads) head.removeAttribute("aria-sort");
    heads[column].setAttribute("aria-sort", falling ? "descending" : "ascending");
  };
  for (const control of table.querySelectorAll("[data-sort]")) {
    control.addEventListener("click", () => sortBy(Number(control.dataset.sort)));
  }
  const metric = document.getElementById("metric");
  if (metric) {
    const choose = () => {
      const hide = heads.map((head) => "group" in head.dataset && head.dataset.group !== metric.value);
      for (const row of table.rows) {
        for (const [column, cell] of [...row.cells].entries()) cell.hidden = hide[column];
      }
    };
    metric.addEventListener("change", choose);
    choose();
  }
})();
