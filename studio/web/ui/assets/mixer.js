// <studio-mixer data-id data-title>: level, pan, mute and solo of an output's stems, in the browser.
// The output's player stays the transport: while the mixer is heard, its own sound is muted and the
// stems follow its position, so that seek, loop, A/B, volume and "one plays at a time" hold unchanged.
// The stems are asked for by a button only. Nothing of the mix is sent or kept.
(() => {
    const STEMS = ["drums", "bass", "lead", "harmony"], FADE_S = 0.01, APART_S = 0.2;
    let context = null;  // one for the page, made after a click
    const percent = part => `${Math.round(part * 100)} %`;
    const side = pan => pan === 0 ? "middle" : `${pan < 0 ? "left" : "right"} ${percent(Math.abs(pan))}`;

    // The files of a ZIP file that is stored without compression.
    const unzip = bytes => {
        const view = new DataView(bytes), files = new Map();
        for (let at = 0; view.getUint32(at, true) === 0x04034b50;) {
            const size = view.getUint32(at + 18, true), named = view.getUint16(at + 26, true);
            const start = at + 30 + named + view.getUint16(at + 28, true);
            files.set(new TextDecoder().decode(new Uint8Array(bytes, at + 30, named)), bytes.slice(start, start + size));
            at = start + size;
        }
        return files;
    };

    const why = async answer => {
        const said = (await answer.json().catch(() => null))?.error?.message;
        return answer.status === 401 ? "You are signed out. Sign in again to load the stems."
            : said ? `${said[0].toUpperCase()}${said.slice(1)}.`.replace(/\.\.$/, ".") : "The studio could not make the stems. Try again.";
    };

    class Mixer extends HTMLElement {
        connectedCallback() {
            if (this.fold) return;
            this.innerHTML =
                "<details class='small'><summary>Mixer</summary><div class='mixer-body'>" +
                "<p class='soft'>The studio plays the score again and seals each stem: some seconds. Consent is asked again, and it " +
                "counts as one request of the day. The mix is heard here only and is not kept.</p>" +
                "<div class='player-row'><button type='button' class='load'>Load the stems</button></div>" +
                "<p class='mixer-state' role='status'></p><div class='strips' hidden></div></div></details>";
            this.fold = this.querySelector("details");
            this.button = this.querySelector(".load");
            this.state = this.querySelector(".mixer-state");
            this.tracks = new Map();
            this.playing = null;
            this.bypassed = false;
            this.button.onclick = () => this.asking ? this.asking.abort() : this.load();
            this.fold.addEventListener("toggle", () => this.hear());
            this.follow(this.closest("section").querySelector("studio-player audio"));
        }

        // Taken away for good, and not only moved within its list.
        disconnectedCallback() {
            queueMicrotask(() => {
                if (this.isConnected) return;
                this.asking?.abort();
                this.stop();
                this.bus?.disconnect();
                if (this.link) URL.revokeObjectURL(this.link);
                this.tracks.clear();
            });
        }

        get heard() { return this.tracks.size > 0 && this.fold.open && !this.bypassed; }

        async load() {
            context ??= new AudioContext();
            this.asking = new AbortController();
            this.button.textContent = "Cancel";
            this.state.textContent = "Making the stems…";
            try {
                const answer = await fetch(`api/v1/outputs/${this.dataset.id}/stems?format=flac`, { method: "POST", signal: this.asking.signal });
                if (!answer.ok) throw Error(await why(answer));
                const bytes = await answer.arrayBuffer(), files = unzip(bytes);
                const listing = JSON.parse(new TextDecoder().decode(files.get("stems.json")));
                for (const { stem, file } of listing.stems) {
                    const sound = await context.decodeAudioData(files.get(file));
                    this.tracks.set(stem, { sound, level: 1, pan: 0, mute: false, solo: false });
                }
                this.ready(listing, new Blob([bytes], { type: "application/zip" }));
            } catch (error) {
                this.tracks.clear();
                this.button.textContent = "Load the stems";
                this.state.textContent = error.name === "AbortError" ? "Cancelled." : error.name === "Error" ? error.message : "The studio could not be reached, or a stem could not be read. Try again.";
            }
            this.asking = null;
        }

        ready(listing, archive) {
            const strips = this.querySelector(".strips"), row = this.button.parentElement, focused = this.button === document.activeElement;
            for (const stem of STEMS) if (this.tracks.has(stem)) strips.append(this.strip(stem));
            row.innerHTML = "<button type='button' class='bypass' aria-pressed='false'>Bypass</button><button type='button' class='reset'>Reset</button><a class='button-link'>Download stems (ZIP)</a>";
            const [bypass, reset, save] = row.children;
            bypass.title = "Hear the released file instead of the mix";
            bypass.onclick = () => {
                this.bypassed = !this.bypassed;
                bypass.setAttribute("aria-pressed", this.bypassed);
                this.hear();
            };
            reset.onclick = () => { for (const track of this.tracks.values()) Object.assign(track, { level: 1, pan: 0, mute: false, solo: false }); this.show(); };
            this.link = save.href = URL.createObjectURL(archive);
            save.download = `${this.dataset.title.replace(/[\\/:*?"<>|]+/g, " ")} - stems.zip`;
            row.before(strips);
            strips.hidden = false;
            this.querySelector(".soft").textContent = "While the mixer is open, the player above plays the mix of the stems. Bypass plays the released file, which stays as it is.";
            const reasons = { silent: "without sound", "no-readable-seal": "no seal can be read in it" };
            const out = listing.left_out.map(({ stem, why }) => `${stem} (${reasons[why] ?? why})`);
            this.state.textContent = `${this.tracks.size} stems loaded.${out.length ? ` Left out: ${out.join(", ")}.` : ""}`;
            if (focused) bypass.focus();
            this.bus = context.createGain();
            this.bus.connect(context.destination);
            this.nodes = this.wire(context, this.bus);
            this.show();
            this.hear();
        }

        strip(stem) {
            const node = document.createElement("div"), track = this.tracks.get(stem);
            node.className = "strip";
            node.dataset.stem = stem;
            node.setAttribute("role", "group");
            node.setAttribute("aria-label", stem);
            node.innerHTML = `<b>${stem}</b>` +
                `<button type='button' class='mute' aria-label='Mute ${stem}'>Mute</button><button type='button' class='solo' aria-label='Solo ${stem}'>Solo</button><div class='knobs'>` +
                `<label><i>Level</i><input type='range' class='level' min='0' max='1' step='0.05' aria-label='Level of ${stem}'><span aria-hidden='true'></span></label>` +
                `<label><i>Pan</i><input type='range' class='pan' min='-1' max='1' step='0.1' aria-label='Pan of ${stem}'><span aria-hidden='true'></span></label></div>`;
            for (const name of ["level", "pan"]) node.querySelector(`.${name}`).oninput = event => { track[name] = Number(event.target.value); this.show(); };
            for (const name of ["mute", "solo"]) node.querySelector(`.${name}`).onclick = () => { track[name] = !track[name]; this.show(); };
            node.onkeydown = event => {
                if (event.ctrlKey || event.metaKey || event.altKey) return;
                const name = { m: "mute", s: "solo" }[event.key.toLowerCase()];
                if (name) { event.preventDefault(); track[name] = !track[name]; this.show(); }
            };
            return node;
        }

        // Level and pan of each stem into `out`; what tests measure in a context of their own, too.
        wire(where, out) {
            const nodes = new Map();
            for (const stem of this.tracks.keys()) {
                const gain = where.createGain(), pan = where.createStereoPanner();
                gain.connect(pan).connect(out);
                nodes.set(stem, { gain, pan });
            }
            this.set(nodes, where);
            return nodes;
        }

        set(nodes, where) {
            const solo = [...this.tracks.values()].some(track => track.solo);
            for (const [stem, { gain, pan }] of nodes) {
                const track = this.tracks.get(stem), level = track.mute || solo && !track.solo ? 0 : track.level;
                gain.gain.setTargetAtTime(level, where.currentTime, FADE_S);  // no click
                pan.pan.value = track.pan;
            }
        }

        show() {
            if (this.nodes) this.set(this.nodes, context);
            for (const node of this.querySelectorAll(".strip")) {
                const track = this.tracks.get(node.dataset.stem);
                for (const [name, words] of [["level", percent(track.level)], ["pan", side(track.pan)]]) {
                    const knob = node.querySelector(`.${name}`);
                    knob.value = track[name];
                    knob.setAttribute("aria-valuetext", words);
                    knob.nextElementSibling.textContent = words;
                }
                for (const name of ["mute", "solo"]) node.querySelector(`.${name}`).setAttribute("aria-pressed", track[name]);
            }
        }

        // The mix or the released file: whichever is heard, the player goes on from where it is.
        hear() {
            if (!this.tracks.size || !this.bus) return;
            this.audio.muted = this.heard;
            if (!this.heard) this.stop(); else if (!this.audio.paused) this.start();
        }

        follow(audio) {
            this.audio = audio;
            const on = (names, act) => names.forEach(name => audio.addEventListener(name, () => this.heard && this.bus && act()));
            on(["playing", "seeked", "ratechange"], () => audio.paused || audio.seeking || this.start());
            on(["pause", "seeking", "waiting", "ended", "emptied"], () => this.stop());
            on(["volumechange"], () => { this.bus.gain.value = audio.volume; });
            on(["timeupdate"], () => {
                if (!this.playing || audio.paused || audio.seeking) return;
                const { from, since, rate } = this.playing;
                if (Math.abs(from + (context.currentTime - since) * rate - audio.currentTime) > APART_S) this.start();
            });
        }

        start() {
            this.stop();
            context.resume();
            const since = context.currentTime, from = this.audio.currentTime, rate = this.audio.playbackRate, fades = [];
            this.bus.gain.value = this.audio.volume;
            for (const [stem, { gain }] of this.nodes) {
                const source = context.createBufferSource(), fade = context.createGain();
                source.buffer = this.tracks.get(stem).sound;
                source.playbackRate.value = rate;
                fade.gain.setValueAtTime(0, since);
                fade.gain.linearRampToValueAtTime(1, since + FADE_S);
                source.connect(fade).connect(gain);
                source.onended = () => fade.disconnect();
                source.start(since, from);
                fades.push({ source, fade });
            }
            this.playing = { since, from, rate, fades };
        }

        stop() {
            const now = context?.currentTime;
            for (const { source, fade } of this.playing?.fades ?? []) {
                fade.gain.cancelScheduledValues(now);
                fade.gain.setTargetAtTime(0, now, FADE_S / 3);
                source.stop(now + 2 * FADE_S);
            }
            this.playing = null;
        }
    }
    customElements.define("studio-mixer", Mixer);
})();
