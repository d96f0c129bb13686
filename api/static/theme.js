// Before anything is painted: the theme that was chosen on this machine. Without JavaScript: that of the system.
"use strict";

try {
  document.documentElement.dataset.theme = localStorage.getItem("celeriac-theme") || "";
} catch {
  // a browser that keeps nothing shows the theme of the system
}
