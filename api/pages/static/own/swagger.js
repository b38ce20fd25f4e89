// Starts Swagger UI on this server's own document. It sends nothing elsewhere and keeps no credentials.

const dark = matchMedia("(prefers-color-scheme: dark)");
const dress = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", dress);
dress();

// Swagger UI scrolls to where a link leads, and leaves the keyboard behind. Not so for the way past the bar.
document.querySelector(".skip").classList.add("noZensmooth");

const place = document.getElementById("swagger");

// Two of Swagger UI's fields have no name for a screen reader.
new MutationObserver(() => {
  place.querySelector("#servers:not([aria-label])")?.setAttribute("aria-label", "Server");
  for (const area of place.querySelectorAll("textarea:not([aria-label])")) {
    area.setAttribute("aria-label", "Request body");
  }
}).observe(place, { childList: true, subtree: true });

// A list's field looks for one that knows its items' format, and grumbles on the console where there is none.
const formats = ["string_uuid", "string_date-time", "string_date", "integer_int32", "integer_int64"];
const fields = ({ getComponent, React }) => {
  const field = (properties) => React.createElement(getComponent("JsonSchema_string"), properties);
  return { components: Object.fromEntries(formats.map((format) => [`JsonSchema_${format}`, field])) };
};

SwaggerUIBundle({
  url: new URL("openapi.json", document.baseURI).href,
  domNode: place,
  plugins: [fields],
  deepLinking: true,
  displayRequestDuration: true,
  filter: true,
  persistAuthorization: false,
  tryItOutEnabled: true,
  validatorUrl: null,
});
