// <studio-player data-src data-title data-seconds>: plays one file. The sound is drawn when the player
// comes into sight. A click seeks, a drag over the picture marks a region to loop; keys: space, arrows
// (2 s, with Shift 10 s), Home, End, "[" and "]" for the ends of the region, L to loop it.
(() => {
    const KEY = "studio-volume", COLUMNS = 300;
    const clock = seconds => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
    const volume = () => { try { return Number(localStorage.getItem(KEY) ?? 1); } catch { return 1; } };
    let last = null;  // the player that played last

    // The outline comes from the studio, so that no sound is fetched before somebody listens.
    const peaks = async url => {
        const answer = await fetch(url.replace("/audio?", "/peaks?"));
        if (!answer.ok) throw Error(answer.status);
        return (await answer.json()).map(peak => peak / 100);
    };

    class Player extends HTMLElement {
        static COLUMNS = COLUMNS;
        static clock = clock;

        connectedCallback() {
            if (this.audio) return;
            const { title, seconds } = this.dataset;
            this.innerHTML =
                "<canvas class='wave' role='slider' tabindex='0' aria-valuemin='0'></canvas>" +
                "<div class='player-row'><button type='button' class='play'></button>" +
                "<span class='player-time small'></span>" +
                "<button type='button' class='loop' aria-pressed='false' title='Drag over the sound to mark a region; L'>Loop</button>" +
                "<button type='button' class='ab' title='Play this one from where the other one is; B'>A/B</button>" +
                "<label class='player-volume small'>Volume <input type='range' min='0' max='1' step='0.05'></label></div>";
            this.audio = this.sound();
            this.wave = this.querySelector("canvas");
            this.play = this.querySelector(".play");
            this.knob = this.querySelector("input");
            this.seconds = Number(seconds) || 0;
            this.from = 0; this.to = 0; this.looping = false; this.columns = null;
            this.wave.setAttribute("aria-label", `Position in ${title}`);
            this.querySelector(".ab").setAttribute("aria-label", `A/B: hear ${title} from where the other one is`);
            this.knob.value = this.audio.volume = volume();
            this.listen();
            this.show();
            new IntersectionObserver((seen, watch) => {
                if (!seen.some(each => each.isIntersecting)) return;
                watch.disconnect();
                this.draw();
            }).observe(this);
        }

        // What is played; what else can be played has the same interface.
        sound() {
            const audio = document.createElement("audio");
            audio.preload = "none";
            audio.src = this.dataset.src;
            audio.setAttribute("aria-label", this.dataset.title);
            this.append(audio);
            return audio;
        }

        get words() { return this.audio.paused ? ["Play", "▶"] : ["Pause", "❚❚"]; }
        get times() { return ""; }
        get length() { return this.audio.duration || this.seconds; }

        async draw() {
            this.wave.dataset.drawn = "1";
            try { this.columns = await peaks(this.audio.src); } catch { this.wave.classList.add("flat"); }
            this.show();
        }

        toggle() { this.audio.paused ? this.audio.play() : this.audio.pause(); }

        seek(seconds) {
            const place = Math.max(0, Math.min(this.length - 0.05, seconds));
            if (this.audio.readyState) { this.audio.currentTime = place; this.show(); return; }
            this.audio.preload = "auto";
            this.audio.addEventListener("loadedmetadata", () => { this.audio.currentTime = place; this.show(); }, { once: true });
            if (this.audio.paused) this.audio.load();
        }

        loop(on) {
            if (on && this.to <= this.from) { this.from = 0; this.to = this.length; }
            this.looping = on;
            this.querySelector(".loop").setAttribute("aria-pressed", on);
            if (on && (this.audio.currentTime < this.from || this.audio.currentTime > this.to)) this.seek(this.from);
            this.show();
        }

        compare() {
            const other = last && last !== this && last.isConnected ? last : null;
            if (other) this.seek(other.audio.currentTime);
            this.audio.play();
        }

        listen() {
            const { audio, wave } = this;
            this.play.onclick = () => this.toggle();
            this.querySelector(".loop").onclick = () => this.loop(!this.looping);
            this.querySelector(".ab").onclick = () => this.compare();
            this.knob.oninput = () => {
                try { localStorage.setItem(KEY, this.knob.value); } catch { /* not kept */ }
                for (const each of document.querySelectorAll("studio-player, studio-preview")) each.knob.value = each.audio.volume = this.knob.value;
            };
            for (const event of ["play", "pause", "timeupdate", "seeked", "loadedmetadata", "ended"]) audio.addEventListener(event, () => this.show());
            audio.addEventListener("play", () => { last = this; this.follow(); });
            audio.addEventListener("ended", () => { if (this.looping) { this.seek(this.from); audio.play(); } });
            audio.addEventListener("error", () => { this.querySelector(".player-time").textContent = "This file cannot be had any more."; });
            const at = event => Math.max(0, Math.min(1, event.offsetX / wave.clientWidth)) * this.length;
            let start = null;
            wave.onpointerdown = event => { start = at(event); wave.setPointerCapture(event.pointerId); };
            wave.onpointermove = event => {
                if (start === null || Math.abs(at(event) - start) * wave.clientWidth < 6 * this.length) return;
                [this.from, this.to] = [start, at(event)].sort((a, b) => a - b);
                this.show();
            };
            wave.onpointerup = event => {
                if (start === null) return;
                const drag = Math.abs(at(event) - start) * wave.clientWidth >= 6 * this.length;
                if (drag) this.loop(true); else this.seek(at(event));
                start = null;
            };
            this.onkeydown = event => {
                if (event.target !== wave && event.target !== this.play || event.ctrlKey || event.metaKey || event.altKey) return;
                const step = event.shiftKey ? 10 : 2, now = audio.currentTime;
                const act = {
                    " ": event.target === wave ? () => this.toggle() : null,
                    ArrowRight: () => this.seek(now + step), ArrowLeft: () => this.seek(now - step),
                    Home: () => this.seek(0), End: () => this.seek(this.length),
                    "[": () => { this.from = now; this.to = Math.max(this.to, now); this.loop(this.to > now); },
                    "]": () => { this.to = now; if (this.from >= now) this.from = 0; this.loop(true); },
                    l: () => this.loop(!this.looping), b: () => this.compare(),
                }[event.key];
                if (act) { event.preventDefault(); act(); }
            };
        }

        // While it plays: draw, and go back at the end of the region.
        follow() {
            if (this.audio.paused) return;
            if (this.looping && this.audio.currentTime >= this.to) this.audio.currentTime = this.from;
            this.show();
            requestAnimationFrame(() => this.follow());
        }

        show() {
            const { audio, wave, length } = this, now = audio.currentTime || 0;
            const [word, sign] = this.words;
            if (this.play.dataset.word !== word) {
                this.play.dataset.word = word;
                this.play.textContent = sign;
                this.play.setAttribute("aria-label", `${word} ${this.dataset.title}`);
            }
            const words = `${clock(now)} / ${clock(length)}${this.looping ? `, loop ${clock(this.from)}–${clock(this.to)}` : ""}${this.times}`;
            const time = this.querySelector(".player-time");
            if (!audio.error && time.textContent !== words) {
                time.textContent = words;
                wave.setAttribute("aria-valuemax", Math.round(length));
                wave.setAttribute("aria-valuenow", Math.round(now));
                wave.setAttribute("aria-valuetext", words);
            }
            this.paint(now / length, this.from / length, this.to / length);
        }

        paint(done, from, to) {
            const { wave } = this, { clientWidth: width, clientHeight: height } = wave, scale = devicePixelRatio || 1;
            if (!width) return;
            if (wave.width !== Math.round(width * scale)) { wave.width = Math.round(width * scale); wave.height = Math.round(height * scale); }
            const pen = wave.getContext("2d"), style = getComputedStyle(wave);
            const colour = name => style.getPropertyValue(name);
            pen.clearRect(0, 0, wave.width, wave.height);
            if (to > from) {
                pen.fillStyle = colour("--accent-soft");
                pen.fillRect(from * wave.width, 0, (to - from) * wave.width, wave.height);
            }
            const wide = wave.width / COLUMNS, [played, coming] = [colour("--accent"), colour("--control")];
            for (let column = 0; column < COLUMNS; column++) {
                pen.fillStyle = column / COLUMNS < done ? played : coming;
                const tall = Math.max(scale, (this.columns?.[column] ?? 0) * wave.height);
                pen.fillRect(column * wide, (wave.height - tall) / 2, Math.max(1, wide - scale), tall);
            }
            pen.fillStyle = colour("--ink");
            if (done > 0) pen.fillRect(Math.min(done * wave.width, wave.width - 2 * scale), 0, 2 * scale, wave.height);
        }
    }
    customElements.define("studio-player", Player);

    const repaint = () => { for (const each of document.querySelectorAll("studio-player, studio-preview")) each.show?.(); };
    addEventListener("resize", repaint);
    addEventListener("studio-scheme", repaint);
    addEventListener("toggle", repaint, true);
    // One sound at a time, whichever it is.
    addEventListener("play", event => {
        for (const other of document.querySelectorAll("audio")) if (other !== event.target) other.pause();
    }, true);
})();
