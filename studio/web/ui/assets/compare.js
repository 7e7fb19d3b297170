// <figure class="compare">: file and original at the same place, heard in turns. Without this script
// two players stand there. Keys on the buttons are the browser's own.
(() => {
    const EVERY_S = 2;
    const clock = seconds => `${Math.floor(seconds / 60)}:${(seconds % 60).toFixed(1).padStart(4, "0")}`;
    const button = (text, name) => Object.assign(document.createElement("button"), { type: "button", textContent: text, className: `secondary ${name}` });

    const start = figure => {
        if (figure.dataset.started) return;
        figure.dataset.started = "1";
        const sounds = [...figure.querySelectorAll("audio")];
        if (!sounds.length) return;
        const seconds = Number(figure.dataset.seconds), stretch = Number(figure.dataset.stretch), gain = Number(figure.dataset.gain) || 1;
        const sides = sounds.map(audio => ({
            audio,
            name: audio.dataset.side === "suspect" ? "the file" : "the original",
            scale: audio.dataset.side === "suspect" ? 1 : stretch,  // its seconds for one of the file
            volume: audio.dataset.side === "suspect" ? Math.min(1, 1 / gain) : Math.min(1, gain),
            loaded: null,
        }));
        let now = 0, at = 0, since = 0, frame = 0, playing = false;
        const controls = document.createElement("div");
        controls.className = "compare-controls";
        const play = button("Play", "compare-play"), turn = button("", "compare-turn");
        const place = Object.assign(document.createElement("input"), { type: "range", min: 0, max: seconds, step: 0.01, value: 0 });
        place.setAttribute("aria-label", "Position in the matched seconds");
        const turns = document.createElement("label");
        turns.className = "small";
        const auto = Object.assign(document.createElement("input"), { type: "checkbox", className: "compare-auto" });
        turns.append(auto, ` Change every ${EVERY_S} seconds`);
        const said = document.createElement("span");
        said.className = "small compare-said";
        said.setAttribute("role", "status");
        controls.append(play, turn, place, turns, said);
        if (sides.length < 2) { turn.hidden = true; turns.hidden = true; }
        figure.querySelector(".compare-sounds").hidden = true;
        figure.append(controls);

        // Whole in memory, so that every place can be reached at once.
        const load = side => side.loaded ??= fetch(side.audio.src)
            .then(answer => answer.ok ? answer.blob() : Promise.reject(answer.status))
            .then(blob => new Promise((done, failed) => {
                side.audio.addEventListener("loadedmetadata", done, { once: true });
                side.audio.addEventListener("error", failed, { once: true });
                side.audio.src = URL.createObjectURL(blob);
                side.audio.load();
            }));
        const show = () => {
            play.textContent = playing ? "Pause" : "Play";
            turn.textContent = sides.length > 1 ? `Change to ${sides[1 - now].name}` : "";
            place.value = at;
            place.setAttribute("aria-valuetext", `${clock(at)} of ${clock(seconds)}, ${sides[now].name}`);
            for (const picture of figure.querySelectorAll(".compare-picture")) picture.style.setProperty("--at", `${100 * at / seconds}%`);
            figure.dataset.now = sides[now].audio.dataset.side;
            figure.dataset.at = at.toFixed(2);
        };
        const say = text => { if (said.textContent !== text) said.textContent = text; };
        const sound = async () => {
            const side = sides[now];
            try { await load(side); } catch { playing = false; say("This sound cannot be had."); show(); return; }
            if (!playing || side !== sides[now]) return;
            side.audio.volume = side.volume;
            side.audio.currentTime = at * side.scale;
            since = at;
            try { await side.audio.play(); } catch { playing = false; }
            say(`Now: ${side.name}`);
            show();
        };
        const pause = () => { for (const side of sides) side.audio.pause(); };
        const change = () => { pause(); now = 1 - now; say(`Now: ${sides[now].name}`); show(); if (playing) sound(); };
        const tick = () => {
            frame = 0;
            if (!playing || !figure.isConnected) { pause(); return; }
            const side = sides[now];
            if (!side.audio.paused) {
                at = Math.min(seconds, side.audio.currentTime / side.scale);
                if (at >= seconds - 0.03 || side.audio.ended) { at = 0; playing = false; pause(); }
                else if (auto.checked && sides.length > 1 && at - since >= EVERY_S) change();
                show();
            }
            if (playing) frame = requestAnimationFrame(tick);
        };
        play.addEventListener("click", () => {
            playing = !playing;
            if (!playing) { pause(); show(); return; }
            for (const side of sides) load(side).catch(() => {});
            show();
            sound();
            if (!frame) frame = requestAnimationFrame(tick);
        });
        turn.addEventListener("click", change);
        place.addEventListener("input", () => { at = Number(place.value); pause(); show(); if (playing) sound(); });
        show();
    };

    const look = root => { for (const figure of root.querySelectorAll("figure.compare")) start(figure); };
    const begin = () => {
        look(document);
        new MutationObserver(changes => {
            for (const change of changes) for (const node of change.addedNodes) if (node.querySelectorAll) look(node);
        }).observe(document.body, { childList: true, subtree: true });
    };
    document.readyState === "loading" ? document.addEventListener("DOMContentLoaded", begin) : begin();
})();
