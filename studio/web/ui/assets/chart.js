// <studio-chart data-id>: the lead sheet of an output, bar by bar; the bar that sounds is marked while the
// output's player plays, and a bar that is chosen is played from. What the composer chose is told apart.
(() => {
    class Chart extends HTMLElement {
        connectedCallback() {
            if (this.fold) return;
            this.innerHTML =
                "<details class='small' open><summary>Lead sheet</summary><p class='chart-words soft'></p>" +
                "<div class='chart-bars' role='group' aria-label='Bars; arrow keys move, Enter plays from there'></div>" +
                "<div class='player-row'><button type='button' class='take-sheet' hidden>Use this lead sheet</button></div></details>";
            this.fold = this.querySelector("details");
            this.grid = this.querySelector(".chart-bars");
            this.fold.addEventListener("toggle", () => this.load());
            new IntersectionObserver((seen, watch) => {
                if (!seen.some(each => each.isIntersecting)) return;
                watch.disconnect();
                this.load();
            }).observe(this);
        }

        get player() { return this.closest("section")?.querySelector("studio-player"); }

        async load() {
            if (this.asked || !this.fold.open) return;
            this.asked = true;
            const words = this.querySelector(".chart-words");
            try {
                const answer = await fetch(`api/v1/outputs/${this.dataset.id}/sheet`);
                if (!answer.ok) throw Error();
                this.show(await answer.json());
            } catch {
                this.asked = false;
                words.textContent = "The lead sheet cannot be had at the moment. Close and open this line to try again.";
            }
        }

        show(chart) {
            this.starts = [];
            const own = chart.sections.some(section => section.bars.some(bar => bar.given));
            this.querySelector(".chart-words").textContent =
                `${chart.key}, ${Math.round(chart.bpm * 10) / 10} BPM, ${chart.metre}${own ? "; yours in bold, the rest by the composer" : "; written by the composer"}`;
            const [low, high] = chart.notes.reduce(([a, b], [, , pitch]) => [Math.min(a, pitch), Math.max(b, pitch)], [127, 0]);
            const bars = chart.sections.flatMap(section => section.bars);
            const ends = [...bars.slice(1).map(bar => bar.start_s), chart.duration_s];
            let number = 0;
            this.grid.replaceChildren(...chart.sections.map(section => {
                const row = document.createElement("div"), name = document.createElement("span");
                row.className = "chart-section";
                name.className = "chart-name soft";
                name.textContent = section.name;
                row.append(name, ...section.bars.map((bar, place) => {
                    const from = bar.start_s, to = ends[number++], node = document.createElement("button"), symbols = bar.chords.map(([symbol]) => symbol);
                    node.type = "button";
                    node.tabIndex = this.starts.length ? -1 : 0;
                    node.className = bar.given ? "bar given" : "bar";
                    node.setAttribute("aria-label", `${section.name}, bar ${place + 1}: ${symbols.join(", ")}`);
                    const chords = document.createElement("span");
                    chords.textContent = symbols.join(" ");
                    node.append(chords, Chart.picture(chart.notes, from, to, low, high));
                    node.onclick = () => this.play(from);
                    this.starts.push({ from, node });
                    return node;
                }));
                return row;
            }));
            this.grid.onkeydown = event => {
                const at = this.starts.findIndex(each => each.node === document.activeElement);
                const to = { ArrowRight: at + 1, ArrowDown: at + 4, ArrowLeft: at - 1, ArrowUp: at - 4, Home: 0, End: this.starts.length - 1 }[event.key];
                if (at < 0 || to === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
                event.preventDefault();
                this.stop(this.starts[Math.max(0, Math.min(this.starts.length - 1, to))].node).focus();
            };
            const take = this.querySelector(".take-sheet");
            take.hidden = false;
            take.onclick = () => {
                document.querySelector('button[data-tab-id="create"]')?.click();
                window.studioSheet?.(chart.text);
            };
            const audio = this.player?.audio;
            for (const event of ["play", "seeked", "timeupdate", "pause", "ended"]) audio?.addEventListener(event, () => this.follow());
            this.follow();
        }

        // The melody of a bar, as far as it can be seen in so small a picture.
        static picture(notes, from, to, low, high) {
            const picture = document.createElementNS("http://www.w3.org/2000/svg", "svg"), wide = to - from || 1, tall = Math.max(8, high - low);
            picture.setAttribute("viewBox", "0 0 100 20");
            picture.setAttribute("preserveAspectRatio", "none");
            picture.setAttribute("aria-hidden", "true");
            for (const [start, length, pitch] of notes) {
                if (start >= to || start + length <= from) continue;
                const note = document.createElementNS("http://www.w3.org/2000/svg", "rect"), left = Math.max(0, (start - from) / wide);
                note.setAttribute("x", 100 * left);
                note.setAttribute("width", Math.max(1, 100 * (Math.min(1, (start + length - from) / wide) - left)));
                note.setAttribute("y", 18 * (1 - (pitch - low) / tall));
                note.setAttribute("height", 2);
                picture.append(note);
            }
            return picture;
        }

        stop(node) {
            for (const each of this.starts) each.node.tabIndex = each.node === node ? 0 : -1;
            return node;
        }

        play(from) {
            const { player } = this;
            player.seek(from + 0.001);
            player.audio.play();
        }

        follow() {
            const audio = this.player?.audio;
            if (!audio) return;
            const now = audio.currentTime, on = now > 0 || !audio.paused;
            const at = on ? this.starts.findLastIndex(each => each.from <= now + 0.02) : -1;
            if (at !== this.at) {
                this.at = at;
                this.starts.forEach(({ node }, place) => {
                    if (place === at) node.setAttribute("aria-current", "true"); else node.removeAttribute("aria-current");
                });
                const node = this.starts[at]?.node;
                if (node && !audio.paused && !this.grid.contains(document.activeElement)) {
                    const over = node.offsetTop - this.grid.offsetTop;
                    if (over < this.grid.scrollTop || over + node.offsetHeight > this.grid.scrollTop + this.grid.clientHeight) this.grid.scrollTop = over;
                }
            }
            if (audio.paused || this.following) return;
            this.following = true;
            requestAnimationFrame(() => { this.following = false; this.follow(); });
        }
    }
    customElements.define("studio-chart", Chart);
})();
