// <studio-preview data-src data-title data-seconds data-take>: plays music that is still being made, in the card of its
// request. When the output is released its player goes on from the same place; when it is not, the preview ends.
// "Play at once" is kept by the browser; what already plays is never stopped by it.
(() => {
    const KEY = "studio-at-once", CLICK_S = 30, APART_S = 0.01, FADE_S = 0.08;
    const MAKING = "#generate, #vary, #extend, [data-command=again], [data-command=vary], [data-command=extend]";
    const Player = customElements.get("studio-player"), all = name => document.querySelectorAll(name);
    const sleep = seconds => new Promise(done => setTimeout(done, seconds * 1000));
    const atOnce = () => { try { return localStorage.getItem(KEY) === "1"; } catch { return false; } };
    const previews = new Map();  // of the requests at work, by their ids
    const known = new Set();  // requests
    let clicked = -Infinity;  // when music was last asked for
    let wanted = null;  // the request that is played at once
    let leaving = null;  // a stream that hands over, and to which <audio>

    const silent = () => ![...all("audio")].some(audio => !audio.paused) && ![...previews.values()].some(each => !each.audio.paused) && !leaving;

    class Preview extends Player {
        get words() { return this.audio.paused ? ["Play preview of", "▶ Play preview"] : ["Pause preview of", "❚❚ Pause preview"]; }
        get times() {
            const { audio } = this;
            if (audio.complete) return "";
            return audio.paused || audio.sounds ? `, ${Player.clock(audio.made)} made` : ", waits for more";
        }

        sound() {
            const stream = new StudioStream(this.dataset.src, Number(this.dataset.seconds));
            const on = (name, act) => stream.addEventListener(name, act);
            on("grown", () => {
                this.columns = stream.columns(Player.COLUMNS);
                this.wave.dataset.drawn = "1";
                this.begin();
                this.show();
            });
            on("play", () => {
                this.note.textContent = "";
                for (const audio of all("audio")) audio.pause();
                for (const other of previews.values()) if (other !== this) { other.audio.pause(); other.audio.close(); }
            });
            on("blocked", () => { this.note.textContent = "This browser plays sound only after a press: press Play preview."; });
            on("lost", () => { this.note.textContent = "The connection was lost. Play preview tries again."; });
            for (const name of ["play", "pause", "ended", "grown"]) on(name, bar);
            for (const name of ["playing", "waiting"]) on(name, () => this.show());
            return stream;
        }

        connectedCallback() {
            if (this.audio) return;
            this.note = document.createElement("p");
            this.note.className = "small preview-note";
            this.note.setAttribute("role", "status");
            this.dataset.waiting = "1";
            super.connectedCallback();
            this.append(this.note);
        }

        // In sight: its sound is fetched, so that the picture grows.
        draw() { this.inSight = true; fetchOne(); }

        // There is something to hear.
        begin() {
            if (!this.dataset.waiting) return;
            delete this.dataset.waiting;
            if (this.wanted && silent()) this.audio.play();
            this.say?.(this.audio.paused ? `The preview of ${this.dataset.title} can be heard.` : `The preview of ${this.dataset.title} plays.`);
        }
    }
    customElements.define("studio-preview", Preview);

    // One stream is fetched at a time unless another is asked for: a browser has few connections to a server.
    const fetchOne = () => {
        const each = [...previews.values()];
        if (!each.some(preview => preview.audio.reading)) each.find(preview => (preview.inSight || preview.wanted) && !preview.audio.complete)?.audio.open();
    };

    const bar = () => {
        const each = [...previews.values()].filter(preview => !preview.dataset.waiting);
        const shown = each.find(preview => !preview.audio.paused) ?? each[0];
        for (const button of all(".now-listen")) {
            if (!shown && button === document.activeElement) document.querySelector("#generate")?.focus();
            button.hidden = !shown;
            const [sign, word] = shown && !shown.audio.paused ? ["❚❚", "Pause"] : ["▶", "Play"];
            if (button.dataset.word !== word) {
                button.dataset.word = word;
                button.textContent = `${sign} Preview`;
                button.setAttribute("aria-label", `${word} preview`);
            }
        }
        for (const button of all(".at-once")) {  // there is little room beside the other buttons
            if (shown && button === document.activeElement) button.parentElement.querySelector(".now-listen").focus();
            button.hidden = Boolean(shown);
            button.setAttribute("aria-pressed", String(atOnce()));
        }
    };

    // The released file takes over where the preview is: it starts unheard, is brought to the same place, and fades in.
    const handOver = async ({ audio: stream, from, to, looping }, player) => {
        const { audio } = player;
        if (looping) { Object.assign(player, { from, to }); player.loop(true); }
        if (!stream.sounds) {
            const goesOn = !stream.paused;  // it waited for more
            if (stream.at > 0 && (goesOn || stream.at < stream.made)) player.seek(stream.at);
            stream.drop();
            if (goesOn) audio.play().catch(() => null);
            return;
        }
        leaving = { stream, audio };
        const silence = () => { audio.volume = 0; }, away = () => stream.pause();
        try {
            silence();
            audio.preload = "auto";
            audio.preservesPitch = false;  // unheard meanwhile, and exact
            if (!audio.readyState) {
                audio.load();
                await Promise.race([new Promise(done => audio.addEventListener("loadedmetadata", done, { once: true })), sleep(5)]);
            }
            audio.currentTime = stream.heard + 0.15;
            await audio.play();
            for (const name of ["pause", "seeking"]) audio.addEventListener(name, away, { once: true });
            for (let turn = 0; turn < 8 && stream.sounds && !audio.paused; turn++) {
                await sleep(0.15);  // it has to run evenly before it can be compared
                const apart = audio.currentTime - stream.heard;
                if (Math.abs(apart) < APART_S) break;
                const since = performance.now();
                audio.playbackRate = apart > 0 ? 0.8 : 1.2;
                while ((performance.now() - since) / 1000 < Math.min(1, 5 * Math.abs(apart))) await sleep(0.01);
                audio.playbackRate = 1;
            }
            audio.playbackRate = 1;
            stream.drop(FADE_S);
            for (let step = 1; step <= 8; step++) { audio.volume = player.knob.value * step / 8; await sleep(FADE_S / 8); }
        } catch {  // it cannot be played now: what is there of the preview goes on, and then the player stands at its end
            stream.addEventListener("pause", () => { player.seek(stream.at); stream.drop(); }, { once: true });
        } finally {
            for (const name of ["pause", "seeking"]) audio.removeEventListener(name, away);
            audio.playbackRate = 1;
            audio.preservesPitch = true;
            audio.volume = player.knob.value;
            leaving = null;
        }
    };

    // A take that is no longer being made: its output goes on, or the preview ends with a word.
    const over = (id, preview, value, job, takes, focus) => {
        previews.delete(id);
        const output = value.released?.[id]?.[Number(preview.dataset.take) - 1];
        const player = takes.get(output)?.querySelector("studio-player"), focused = focus && preview.contains(focus);
        const told = !preview.dataset.waiting;
        preview.remove();
        if (player) {
            handOver(preview, player);
            if (focused) player.play.focus();
            return;
        }
        preview.audio.drop();
        if (!job) return;
        if (told) job.querySelector(".preview-word").textContent = "The preview has ended. Nothing of it was released.";
        if (focused) job.querySelector(":scope > button").focus();
    };

    // Called with what the list shows, once it is drawn; `jobs` and `takes` are its nodes by id.
    window.studioPreviews = (value, { jobs, takes, focus, say }) => {
        if (!value.jobs) return;
        for (const [id, preview] of [...previews]) {
            const data = value.jobs.find(job => job.id === id);
            if (data?.preview?.url !== preview.dataset.src) over(id, preview, value, jobs.get(id), takes, focus);
        }
        for (const { id, preview: data } of value.jobs) {
            const asked = !known.has(id) && performance.now() - clicked < 1000 * CLICK_S;
            known.add(id);
            if (asked) { clicked = -Infinity; wanted = id; }
            if (!data) continue;
            let preview = previews.get(id);
            if (!preview) {
                preview = document.createElement("studio-preview");
                Object.assign(preview.dataset, { src: data.url, title: data.title, seconds: data.seconds, take: data.take });
                Object.assign(preview, { say, wanted: wanted === id && data.take === 1 });
                previews.set(id, preview);
                const word = jobs.get(id).querySelector(".preview-word");
                word.textContent = "";
                word.before(preview);
            }
            if (data.begun) preview.begin();
        }
        fetchOne();
        bar();
    };
    addEventListener("click", event => {
        const button = event.target.closest?.(`.at-once, .now-listen, ${MAKING}`);
        if (!button) return;
        if (button.matches(".at-once")) {
            try { atOnce() ? localStorage.removeItem(KEY) : localStorage.setItem(KEY, "1"); } catch { /* not kept */ }
            bar();
        } else if (button.matches(".now-listen")) {
            const each = [...previews.values()].filter(preview => !preview.dataset.waiting);
            (each.find(preview => !preview.audio.paused) ?? each[0])?.toggle();
        } else if (atOnce()) { clicked = performance.now(); StudioStream.warm(); }
    }, true);
    // One sound at a time; the file that takes over is the same sound.
    addEventListener("play", event => {
        for (const preview of previews.values()) preview.audio.pause();
        if (leaving && leaving.audio !== event.target) leaving.stream.pause();
    }, true);
    addEventListener("studio-signed-out", () => {
        for (const preview of previews.values()) preview.audio.drop();
        leaving?.stream.drop();
    });
})();
