// Starts Swagger UI on this server's /openapi.json. It contacts no other server and stores no credentials.

const dark = matchMedia("(prefers-color-scheme: dark)");
const applyTheme = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", applyTheme);
applyTheme();

// Swagger UI scrolls to the target of links without moving the focus. Exempt the skip link.
document.querySelector(".skip").classList.add("noZensmooth");

const container = document.getElementById("swagger");

// Two of Swagger UI's fields have no accessible name.
new MutationObserver(() => {
  container.querySelector("#servers:not([aria-label])")?.setAttribute("aria-label", "Server");
  for (const area of container.querySelectorAll("textarea:not([aria-label])")) {
    area.setAttribute("aria-label", "Request body");
  }
}).observe(container, { childList: true, subtree: true });

// A list looks for a component for the format of its items, and logs an error if there is none.
const formats = ["string_uuid", "string_date-time", "string_date", "integer_int32", "integer_int64"];
const fields = ({ getComponent, React }) => {
  const field = (properties) => React.createElement(getComponent("JsonSchema_string"), properties);
  return { components: Object.fromEntries(formats.map((format) => [`JsonSchema_${format}`, field])) };
};

SwaggerUIBundle({
  url: new URL("openapi.json", document.baseURI).href,
  domNode: container,
  plugins: [fields],
  deepLinking: true,
  displayRequestDuration: true,
  filter: true,
  persistAuthorization: false,
  tryItOutEnabled: true,
  validatorUrl: null,
});
