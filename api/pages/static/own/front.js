// The front page's commands: shows them with the address that this browser used, and copies them at a click.

const base = new URL(".", location.href).href.replace(/\/$/, "");
for (const place of document.querySelectorAll(".base")) {
  place.textContent = base;
}

// Where the clipboard is closed to us (plain HTTP, another machine), the text is at least selected.
async function copy(pre) {
  try {
    await navigator.clipboard.writeText(pre.textContent);
    return "Copied.";
  } catch {
    getSelection().selectAllChildren(pre);
    return "Selected: copy it with your keyboard.";
  }
}

for (const button of document.querySelectorAll(".copy")) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    const said = await copy(button.parentElement.querySelector("pre"));
    document.getElementById("copied").textContent = said;
    button.textContent = said === "Copied." ? "Copied" : "Selected";
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
}
