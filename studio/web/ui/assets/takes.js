// Requests at work and the outputs. Only what changed is drawn anew: a player stays as long as its
// output is listed, and what plays is never taken away.
const jobs = new Map(), takes = new Map();
const line = element.querySelector(".jobs"), list = element.querySelector(".takes");
const title = element.querySelector(".takes-title"), live = element.querySelector("[role=status]");
let known = false;

const send = command => window.studioCommand?.(command);
const playing = node => [...node.querySelectorAll("audio")].some(audio => !audio.paused);

// The sound as a picture, to be clicked; the player's own slider is there for the keyboard.
const waveform = async node => {
    const canvas = node.querySelector("canvas.wave"), audio = node.querySelector("audio");
    if (!canvas || canvas.dataset.drawn) return;
    canvas.dataset.drawn = "1";
    audio.preload = "metadata";
    let peaks;
    try {
        const bytes = await (await fetch(audio.src)).arrayBuffer();
        const sound = await new OfflineAudioContext(1, 1, 16000).decodeAudioData(bytes);
        const samples = sound.getChannelData(0), columns = 300, step = Math.max(1, Math.floor(samples.length / columns));
        peaks = Array.from({ length: columns }, (_, column) => {
            let top = 0;
            for (let at = column * step; at < (column + 1) * step && at < samples.length; at += 4) top = Math.max(top, Math.abs(samples[at]));
            return top;
        });
    } catch { canvas.hidden = true; return; }
    const paint = () => {
        const { clientWidth: width, clientHeight: height } = canvas, scale = devicePixelRatio || 1;
        canvas.width = width * scale; canvas.height = height * scale;
        const pen = canvas.getContext("2d"), style = getComputedStyle(canvas);
        const done = audio.duration ? audio.currentTime / audio.duration : 0;
        peaks.forEach((peak, column) => {
            pen.fillStyle = column / peaks.length < done ? style.getPropertyValue("--accent") : style.getPropertyValue("--control");
            const tall = Math.max(scale, peak * height * scale), wide = width * scale / peaks.length;
            pen.fillRect(column * wide, (height * scale - tall) / 2, Math.max(1, wide - scale), tall);
        });
    };
    canvas.onclick = event => { if (audio.duration) audio.currentTime = audio.duration * event.offsetX / canvas.clientWidth; };
    audio.addEventListener("timeupdate", paint);
    audio.addEventListener("seeked", paint);
    addEventListener("resize", paint);
    paint();
};

// One player at a time, whichever it is.
document.addEventListener("play", event => {
    for (const other of document.querySelectorAll("audio")) if (other !== event.target) other.pause();
    const row = event.target.closest("details.take");
    if (row) waveform(row);
}, true);

const job = data => {
    let node = jobs.get(data.id);
    if (!node) {
        node = document.createElement("div");
        node.className = "job";
        node.innerHTML = "<div class='job-body'></div><button type='button'></button>";
        node.querySelector("button").addEventListener("click", () => {
            send({ [node.dataset.live ? "cancel" : "dismiss"]: data.id });
            if (!node.dataset.live) document.querySelector("#generate")?.focus();
        });
        jobs.set(data.id, node);
        line.append(node);
    }
    const body = node.querySelector(".job-body"), button = node.querySelector("button");
    if (node.dataset.shown !== data.html) { body.innerHTML = data.html; node.dataset.shown = data.html; }
    node.dataset.live = data.live ? "1" : "";
    const word = data.live ? "Cancel" : "Dismiss";
    if (button.textContent !== word) button.textContent = word;
    button.disabled = data.state === "stopping";
};

const take = (data, place) => {
    let node = takes.get(data.id);
    if (!node) {
        node = document.createElement("details");
        node.className = "take";
        node.innerHTML = data.html;
        node.addEventListener("toggle", () => node.open && waveform(node));
        takes.set(data.id, node);
        if (known) live.textContent = `Ready: ${data.title}`;
        if (!known && place === 0 || known) {
            for (const other of takes.values()) if (other !== node && !playing(other)) other.open = false;
            node.open = true;
        }
    }
    return node;
};

const show = () => {
    const value = props.value || {};
    const present = new Set((value.jobs || []).map(data => data.id));
    for (const [id, node] of jobs) if (!present.has(id)) {
        const focused = node.contains(document.activeElement);
        node.remove(); jobs.delete(id);
        if (focused) document.querySelector("#generate")?.focus();
    }
    (value.jobs || []).forEach(job);
    if (value.takes) {
        const rows = value.takes.map(take), listed = new Set(value.takes.map(data => data.id));
        for (const [id, node] of takes) if (!listed.has(id) && !playing(node)) { node.remove(); takes.delete(id); }
        rows.reverse().forEach(node => { if (!node.parentNode) list.prepend(node); });
        title.hidden = !takes.size;
        known = true;
    }
    const failed = (value.jobs || []).filter(data => !data.live);
    if (failed.length && live.dataset.told !== failed.map(data => data.id).join()) {
        live.dataset.told = failed.map(data => data.id).join();
        live.textContent = failed.map(data => data.word).join("; ");
    }
    const bar = document.querySelector("#bar-state");
    if (bar && value.bar !== undefined) bar.textContent = value.bar;
};

watch("value", show);
show();
