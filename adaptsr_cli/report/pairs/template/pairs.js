"use strict";
(() => {
  const root = document.documentElement;
  root.classList.add("js");

  const dark = matchMedia("(prefers-color-scheme: dark)");
  const theme = document.getElementById("theme");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : dark.matches);
  const nameTheme = () => {
    theme.textContent = isDark() ? "Light" : "Dark";
    theme.setAttribute("aria-label", `Switch to ${isDark() ? "light" : "dark"} colours`);
  };
  theme.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    nameTheme();
  });
  dark.addEventListener("change", nameTheme);
  nameTheme();

  const BLINK_MS = 600;
  const clamp = (value) => Math.min(100, Math.max(0, value));

  for (const element of document.querySelectorAll("[data-compare]")) {
    const sheet = element.querySelector(".sheet");
    const range = element.querySelector("input");
    const button = element.querySelector("button");
    let timer = 0;
    let before = 50;

    const split = (percent) => {
      const value = clamp(percent);
      range.value = Math.round(value);
      sheet.style.setProperty("--split", value);
      range.setAttribute("aria-valuetext", `${Math.round(value)} % LR, the rest HR`);
    };
    const stop = () => {
      if (!timer) return;
      clearInterval(timer);
      timer = 0;
      button.setAttribute("aria-pressed", "false");
    };
    button.addEventListener("click", () => {
      if (timer) {
        stop();
        split(before);
        return;
      }
      before = Number(range.value);
      button.setAttribute("aria-pressed", "true");
      let low = true;
      split(100);
      timer = setInterval(() => {
        low = !low;
        split(low ? 100 : 0);
      }, BLINK_MS);
    });
    range.addEventListener("input", () => {
      stop();
      split(Number(range.value));
    });
    const follow = (event) => {
      const box = sheet.getBoundingClientRect();
      stop();
      split((100 * (event.clientX - box.left)) / box.width);
    };
    sheet.addEventListener("pointerdown", (event) => {
      sheet.setPointerCapture(event.pointerId);
      follow(event);
      event.preventDefault();
    });
    sheet.addEventListener("pointermove", (event) => {
      if (sheet.hasPointerCapture(event.pointerId)) follow(event);
    });
    split(50);
  }
})();
