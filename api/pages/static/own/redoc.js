// Starts ReDoc on this server's /openapi.json, in the colours of tandem.css.

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

function theme() {
  const [ink, quiet, paper, raised, accent, line] = ["ink", "quiet", "paper", "raised", "accent", "line"].map(colour);
  return {
    colors: {
      primary: { main: accent },
      text: { primary: ink, secondary: quiet },
      border: { dark: line, light: line },
      gray: { 50: raised, 100: raised },
      success: { main: colour("good") },
      error: { main: colour("bad") },
      responses: {
        success: { color: colour("good"), backgroundColor: raised, tabTextColor: "#7fd6a0" },
        error: { color: colour("bad"), backgroundColor: raised, tabTextColor: "#ff9d94" },
      },
    },
    schema: { nestedBackground: raised, linesColor: line, typeNameColor: quiet, typeTitleColor: quiet },
    sidebar: { backgroundColor: raised, textColor: ink, activeTextColor: accent },
    rightPanel: { backgroundColor: "#14262b" },
    codeBlock: { backgroundColor: "#0d1b1f" },
    typography: {
      fontFamily: colour("sans"),
      headings: { fontFamily: colour("sans") },
      code: { fontFamily: colour("mono"), color: ink, backgroundColor: raised },
      links: { color: accent, visited: accent, hover: accent },
    },
  };
}

Redoc.init(
  new URL("openapi.json", document.baseURI).href,
  { theme: theme(), nativeScrollbars: true, hideDownloadButtons: true },
  document.getElementById("redoc"),
);
