// <studio-fetch data-model>: for administrators, fetches a model of the hub: size, licence to accept, progress.
// Others see nothing, because the studio tells them nothing. A fetch goes on when the page is left.
(() => {
    const say = (tag, words) => { const node = document.createElement(tag); node.textContent = words; return node; };
    const size = mb => mb ? `about ${mb >= 1000 ? `${mb / 1000} GB` : `${mb} MB`}` : "size not known";

    class Fetch extends HTMLElement {
        connectedCallback() { this.look(); }
        disconnectedCallback() { clearTimeout(this.timer); }

        async ask(method, body, query = "") {
            const answer = await fetch(`api/v1/model-fetches${query}`, {
                method, headers: body ? { "Content-Type": "application/json" } : {}, body: body && JSON.stringify(body),
            });
            const said = await answer.json();
            if (!answer.ok) throw Error(said.error?.message || "The studio cannot be reached.");
            return said;
        }

        async look() {
            clearTimeout(this.timer);
            try {
                const offers = await this.ask("GET"), offer = offers.find(each => each.model === this.dataset.model);
                if (offer) this.offer = offer;
                if (offer) this.show(offer.fetch);
                else if (this.offer) this.show({ state: "done" });
            } catch { /* not for this role, or not reachable: the page says so elsewhere */ }
        }

        show(now) {
            const { offer } = this, state = now?.state ?? "none";
            if (["running", "queued"].includes(state)) this.timer = setTimeout(() => this.look(), 1000);
            if (this.drawn !== state) {
                this.drawn = state;
                const focused = this.contains(document.activeElement);
                this.replaceChildren();
                if (state === "done") {
                    const again = say("a", "Reload the page to use it");
                    again.href = "./";
                    this.append(say("p", `${offer.title} is on this machine now, with its commit and digests pinned. `), again);
                } else if (["running", "queued"].includes(state)) {
                    this.bar = document.createElement("progress");
                    this.bar.max = 1;
                    this.bar.setAttribute("aria-label", `Fetching ${offer.title}`);
                    this.words = say("p", "");
                    const stop = say("button", "Cancel");
                    stop.type = "button";
                    stop.onclick = async () => { stop.disabled = true; await this.ask("DELETE", null, `?model=${encodeURIComponent(offer.model)}`).catch(() => null); this.look(); };
                    this.append(this.words, this.bar, stop);
                } else this.invite(now);
                if (focused) this.querySelector("button:enabled, a, input")?.focus();
            }
            if (this.bar?.isConnected) {
                this.bar.value = now.progress;
                if (this.words.textContent !== now.text) this.words.textContent = now.text;
            }
        }

        invite(now) {
            const { offer } = this, button = say("button", now ? "Fetch on" : `Fetch ${offer.title}`);
            const label = document.createElement("label"), box = document.createElement("input");
            box.type = "checkbox";
            label.append(box, `I accept the licence ${offer.licence}, which permits: ${offer.licence_uses.join(", ")}`);
            button.type = "button";
            button.disabled = true;
            box.onchange = () => { button.disabled = !box.checked; };
            const problem = say("p", now ? `${now.text[0].toUpperCase()}${now.text.slice(1)}` : "");
            problem.setAttribute("role", "alert");
            button.onclick = async () => {
                try { this.show(await this.ask("POST", { model: offer.model, accepted_licence: offer.licence })); }
                catch (error) { problem.textContent = error.message; }
            };
            this.append(say("p", `As an administrator you can fetch it from the hub (${size(offer.megabytes)}). It asks the network now and never by itself.`), label, button, problem);
        }
    }
    customElements.define("studio-fetch", Fetch);
})();
