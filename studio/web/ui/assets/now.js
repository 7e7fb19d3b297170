// What is at work, on every tab: its place in line, Cancel, and a notification when it is ready if one is wanted.
// The steps to a first piece: shown until there is an output or they are skipped; nothing else waits for them.
(() => {
    const kept = name => { try { return localStorage.getItem(name); } catch { return null; } };
    const keep = (name, value) => { try { value ? localStorage.setItem(name, value) : localStorage.removeItem(name); } catch { /* not kept */ } };
    const all = name => document.querySelectorAll(name);
    let first = null, ready = null;

    const able = () => "Notification" in window;
    const wanted = () => able() && kept("studio-notify") === "1" && Notification.permission === "granted";
    const show = () => {
        for (const each of all(".now-cancel")) { each.hidden = !first; each.disabled = first?.state === "stopping"; }
        for (const each of all(".now-notify")) {
            each.hidden = !first || !able();
            const words = able() && Notification.permission === "denied" ? "Notifications are blocked in this browser" : "Notify me when ready";
            if (each.textContent !== words) each.textContent = words;
            each.setAttribute("aria-pressed", String(wanted()));
        }
        const creating = document.querySelector('button[data-tab-id="create"]')?.getAttribute("aria-selected") === "true";
        for (const each of all("#now")) each.hidden = !first || creating;  // the bar of the Create tab says it
    };
    addEventListener("click", event => { if (event.target.closest?.("button[data-tab-id]")) setTimeout(show); });
    const tell = (words, id) => {
        if (!wanted()) return;
        const note = new Notification(words, { tag: "studio" });
        note.onclick = () => { window.focus(); if (id) location.hash = `#library/${id}`; note.close(); };
    };
    addEventListener("click", async event => {
        const button = event.target.closest?.(".now-cancel, .now-notify");
        if (!button) return;
        if (button.matches(".now-cancel")) {
            if (first) window.studioCommand?.({ cancel: first.id });
            const generate = document.querySelector("#generate");
            (generate?.offsetParent ? generate : document.querySelector("[role=tab][aria-selected=true]"))?.focus();
        } else if (wanted()) keep("studio-notify", "");
        else if (await Notification.requestPermission() === "granted") keep("studio-notify", "1");
        show();
    });
    // Called with what the list of requests and outputs shows.
    window.studioNow = value => {
        first = (value.jobs || []).find(job => job.live) ?? null;
        for (const each of all("#now .now-words")) if (each.textContent !== (value.bar || "")) each.textContent = value.bar || "";
        show();
        if (value.takes) {
            const ids = new Set(value.takes.map(take => take.id));
            if (ready) for (const take of value.takes) if (!ready.has(take.id)) tell(`Ready: ${take.title}`, take.id);
            ready = ids;
            walk(value.takes.length);
        }
    };
    window.studioFailed = words => tell(words);

    const STEPS = [
        ["Choose how it should sound: one tag of each kind. A first choice is made for you.", "#tags input:checked"],
        ["Say what it is for. Consent depends on use and territory; the panel says who granted what.", ".scope-use input:checked"],
        ["Press Generate. Your piece is sealed, recorded, and plays under “Your outputs”.", "#generate"],
        ["Your first piece is ready. Press play; under it are its lead sheet, mixer, downloads and record.", "details.take studio-player .play"],
    ];
    let step = 0, walking = false;
    const draw = () => {
        for (const box of all("#walk")) {
            box.hidden = !walking;
            box.querySelector("b").textContent = step < 3 ? `Step ${step + 1} of 3.` : "Done.";
            box.querySelector("span").textContent = STEPS[step][0];
            box.querySelector("[data-walk=on]").hidden = step >= 2;
            box.querySelector("[data-walk=off]").textContent = step < 3 ? "Skip these steps" : "Close";
        }
    };
    const walk = outputs => {
        if (!walking && !outputs && !kept("studio-walk") && document.querySelector("#walk")) { walking = true; step = 0; }
        if (walking && outputs) { step = 3; keep("studio-walk", "done"); }
        draw();
    };
    const go = () => document.querySelector(STEPS[step][1])?.focus();
    addEventListener("click", event => {
        const way = event.target.closest?.("[data-walk]")?.dataset.walk;
        if (!way) return;
        if (way === "on") step = Math.min(2, step + 1);
        if (way === "off") { walking = false; keep("studio-walk", "done"); document.querySelector("#generate")?.focus(); }
        draw();
        if (way !== "off") go();
    });
})();
