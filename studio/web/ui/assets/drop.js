// The drop target of the Verify tab. Files are uploaded one by one, so that one that is refused, or
// a budget that is spent for the moment, does not refuse the others. What is new goes to the server.
const LIMIT = element.querySelector("[data-max-bytes]").dataset;
const input = element.querySelector("input[type=file]");
const status = element.querySelector("[role=status]");
const waiting = [];
let ready = [], timer = null, working = false;

const pause = seconds => new Promise(done => setTimeout(done, seconds * 1000));
const say = text => { if (status.textContent !== text) status.textContent = text; };
const megabytes = bytes => Math.floor(bytes / 2 ** 20) + " MB";

const refuse = (name, why) => {
    const line = document.createElement("p");
    line.textContent = `${name}: ${why}`;
    element.querySelector(".drop-refused").append(line);
};

// Tell the server at most once a second, however many files arrive.
const hand = () => {
    timer = null;
    if (!ready.length) return;
    props.value = ready;
    ready = [];
    trigger("upload");
};

// How long a recording is, where the browser can tell at once; 0 where it cannot.
const duration = file => new Promise(done => {
    const audio = new Audio(), url = URL.createObjectURL(file);
    const end = seconds => { URL.revokeObjectURL(url); audio.removeAttribute("src"); done(seconds); };
    audio.preload = "metadata";
    audio.onloadedmetadata = () => end(Number.isFinite(audio.duration) ? audio.duration : 0);
    audio.onerror = () => end(0);
    setTimeout(() => end(0), 1500);
    audio.src = url;
});

const send = async file => {
    const form = new FormData();
    form.append("files", file, file.name);
    for (let left = 60; left; left--) {
        const answer = await fetch("gradio_api/upload", { method: "POST", body: form });
        if (answer.ok) return (await answer.json())[0];
        if (answer.status !== 429) {
            const body = await answer.json().catch(() => ({}));
            throw Error(body.error?.message || `not taken (${answer.status})`);
        }
        say(`${file.name} waits: too much was sent in a short time.`);
        await pause(Math.min(60, Number(answer.headers.get("Retry-After")) || 5));
    }
    throw Error("not taken; try again later");
};

const work = async () => {
    if (working) return;
    working = true;
    while (waiting.length) {
        const file = waiting.shift();
        say(`Sending ${file.name}${waiting.length ? `, ${waiting.length} more` : ""} …`);
        try {
            if (file.size > Number(LIMIT.maxBytes)) {
                throw Error(`${megabytes(file.size)}. This page takes up to ${megabytes(Number(LIMIT.maxBytes))}; “studio verify” on the command line takes more.`);
            }
            const seconds = await duration(file);
            const path = await send(file);
            ready.push({ file: { path, meta: { _type: "gradio.FileData" } }, seconds });
            timer ??= setTimeout(hand, 250);
        } catch (error) {
            refuse(file.name, error instanceof TypeError ? "not sent. The studio cannot be reached." : error.message);
        }
    }
    say("");
    working = false;
};

const take = files => {
    element.querySelector(".drop-refused").replaceChildren();
    waiting.push(...files);
    work();
};

input.addEventListener("change", () => { take([...input.files]); input.value = ""; });
window.studioTakeFiles = take;
take(window.studioDropped || []);
window.studioDropped = [];
