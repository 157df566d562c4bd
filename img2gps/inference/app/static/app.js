// Sends each dropped photo to the server, which forgets it, and shows what comes back.
"use strict";

const drop = document.getElementById("drop");
const files = document.getElementById("files");
const said = document.getElementById("said");
const answers = document.getElementById("answers");
const positions = [];

async function ask(file) {
  const explain = document.getElementById("explain").checked ? "&explain=1" : "";
  const url = `page/answer?name=${encodeURIComponent(file.name)}${explain}`;
  const response = await fetch(url, { method: "POST", body: file });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error);
  positions.push(answer.position);
  answers.insertAdjacentHTML("afterbegin", answer.html); // escaped by the server
  const picture = document.createElement("img");
  picture.alt = "the photo";
  picture.src = URL.createObjectURL(file);
  picture.onerror = () => picture.remove(); // such as HEIC, which few browsers show
  if (!answer.position.error) answers.firstElementChild.append(picture);
}

async function draw() {
  const body = JSON.stringify(positions.map((one) => ({
    ...one, neighbours: one.neighbours.map((photo) => ({ ...photo, thumbnail: "" })),
  })));
  const response = await fetch("page/map", { method: "POST", body });
  if (!response.ok) return;
  document.getElementById("map").innerHTML = await response.text();
  document.getElementById("key").hidden = false;
}

async function askAll(list) {
  const failed = [];
  for (const [i, file] of [...list].entries()) {
    said.textContent = `looking at ${i + 1} of ${list.length}: ${file.name}`;
    try {
      await ask(file);
    } catch (error) {
      failed.push(`${file.name}: ${error.message}`);
    }
  }
  await draw();
  said.textContent = failed.length ? failed.join("; ") : "";
  document.body.dataset.done = String(positions.length);
}

files.addEventListener("change", () => askAll(files.files));
for (const type of ["dragenter", "dragover"]) {
  drop.addEventListener(type, (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
}
for (const type of ["dragleave", "drop"]) {
  drop.addEventListener(type, () => drop.classList.remove("over"));
}
drop.addEventListener("drop", (event) => {
  event.preventDefault();
  askAll(event.dataTransfer.files);
});
drop.addEventListener("keydown", (event) => {
  if (event.key === "Enter" || event.key === " ") files.click();
});
