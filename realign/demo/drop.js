// A field that takes a file by drop, click or key; `accept` is set for it. The file is read here, and no path is sent.
const limit = props.most, told = (text) => { props.told = text; };
const give = (value) => { props.value = value; trigger("change"); };

async function take(file) {
  if (!file) return;
  if (file.size > limit) return told(`${file.name} is larger than ${limit >> 10} kB; choose a smaller one.`);
  told(`Reading ${file.name} ...`);
  if (props.kind === "text") {
    told(`${file.name} (choose another)`);
    return give(await file.text());
  }
  try {
    const answer = await fetch(`motions?name=${encodeURIComponent(file.name)}`, { method: "POST", body: file });
    const content = await answer.json();
    told(answer.ok ? `${content.title}, ${content.seconds} s (choose another)` : content.detail);
    if (answer.ok) give(content.motion);
  } catch {
    told("The server does not answer; is it still running?");
  }
}

element.addEventListener("change", (event) => {
  const input = event.target;
  if (input.type !== "file") return;
  take(input.files[0]);
  input.value = "";
});
element.addEventListener("keydown", (event) => {
  if (event.key === "Enter" || event.key === " ") { event.preventDefault(); element.querySelector("input").click(); }
});
for (const name of ["dragenter", "dragover"]) {
  element.addEventListener(name, (event) => { event.preventDefault(); element.classList.add("rd-over"); });
}
for (const name of ["dragleave", "drop"]) {
  element.addEventListener(name, (event) => { event.preventDefault(); element.classList.remove("rd-over"); });
}
element.addEventListener("drop", (event) => take(event.dataTransfer.files[0]));
