// The front page: shows its commands with the address that this browser used, and copies them on click.

const base = new URL(".", location.href).href.replace(/\/$/, "");
for (const element of document.querySelectorAll(".base")) {
  element.textContent = base;
}

// Without access to the clipboard (plain HTTP from another machine), selects the text instead.
async function copy(pre) {
  try {
    await navigator.clipboard.writeText(pre.textContent);
    return "Copied.";
  } catch {
    getSelection().selectAllChildren(pre);
    return "Selected. Press Ctrl-C or ⌘C to copy.";
  }
}

for (const button of document.querySelectorAll(".copy")) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    const message = await copy(button.parentElement.querySelector("pre"));
    document.getElementById("copied").textContent = message;
    button.textContent = message === "Copied." ? "Copied" : "Selected";
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
}
