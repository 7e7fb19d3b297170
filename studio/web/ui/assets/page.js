// Gradio's radio groups carry their title only visually; give it to screen readers too.
(() => {
    let groups = 0;
    const tidy = () => {
        window.studioScheme();
        // Radios of one group share a name: one tab stop a group, arrow keys within it.
        for (const group of document.querySelectorAll("fieldset")) {
            const radios = group.querySelectorAll("input[type=radio]");
            if (radios.length) group.dataset.name ||= `group-${++groups}`;
            for (const radio of radios) if (radio.name !== group.dataset.name) radio.name = group.dataset.name;
        }
        for (const group of document.querySelectorAll("fieldset:not([aria-label])")) {
            const title = group.querySelector("[data-testid='block-info']");
            if (title) {
                group.setAttribute("role", "radiogroup");
                group.setAttribute("aria-label", title.textContent.trim());
            }
        }
    };
    // Tab and output stand in the address, so that Back, reload and a link work.
    let going = false;
    const tabs = () => [...document.querySelectorAll("button[data-tab-id]")];
    const go = address => {
        const [name, id] = address.slice(1).split("/");
        const offered = tabs().filter(each => each.offsetParent);
        const button = offered.find(each => each.dataset.tabId === name) || offered[0];
        going = true;
        button?.click();
        going = false;
        if (name === "library" && id) { window.studioWanted = id; window.studioSearch?.(); }
    };
    addEventListener("popstate", () => go(location.hash));
    addEventListener("click", event => {
        const button = event.target.closest?.("button[data-tab-id]");
        if (!button || going) return;
        const address = `#${button.dataset.tabId}`;
        if (location.hash !== address) history.pushState(null, "", address);
        if (button.dataset.tabId === "library") window.studioSearch?.();
    });
    // A page that was opened by such an address goes there once it is known who is signed in.
    let arrived = false;
    const arrive = () => {
        if (arrived || !document.querySelector(".who-line") || !tabs().length) return;
        arrived = true;
        if (location.hash) setTimeout(() => go(location.hash));
    };
    // What is typed into a list replaces the present choice, as in any list one can type in.
    addEventListener("focusin", event => {
        const field = event.target;
        if (field.matches?.("input[role=combobox], input[role=listbox]")) setTimeout(() => field.select());
    });
    // A table that has to be scrolled can be scrolled by keyboard.
    const scrollable = () => {
        for (const box of document.querySelectorAll(".table-scroll")) {
            if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
            else box.removeAttribute("tabindex");
        }
    };
    let drawn = 0;
    const changed = () => {
        tidy();
        arrive();
        drawn ||= requestAnimationFrame(() => { drawn = 0; scrollable(); });
    };
    addEventListener("resize", changed);
    addEventListener("toggle", changed, true);
    // Files may be dropped anywhere: the Verify tab takes them, and the browser never leaves the page.
    const ofFiles = event => [...(event.dataTransfer?.types || [])].includes("Files");
    const elsewhere = event => event.target.closest?.(".drop");  // the Consent tab's own target
    let over = null;
    const leave = () => { over?.remove(); over = null; };
    const tab = () => document.querySelector('button[data-tab-id="verify"]');
    const offered = () => tab() && getComputedStyle(tab()).display !== "none";
    window.studioDropped = [];
    addEventListener("dragover", event => {
        if (!ofFiles(event) || elsewhere(event)) return;
        event.preventDefault();
        event.dataTransfer.dropEffect = offered() ? "copy" : "none";
        if (over || !offered()) return;
        over = document.createElement("div");
        over.className = "drop-over";
        over.textContent = "Drop to verify";
        (document.querySelector(".gradio-container") || document.body).append(over);
    });
    addEventListener("dragleave", event => { if (!event.relatedTarget) leave(); });
    addEventListener("drop", event => {
        leave();
        if (!ofFiles(event) || elsewhere(event)) return;
        event.preventDefault();
        if (!offered()) return;
        const files = [...event.dataTransfer.files];
        tab().click();
        if (window.studioTakeFiles) window.studioTakeFiles(files);
        else window.studioDropped.push(...files);  // the tab is drawn when it is first opened
    }, true);
    // Whether the studio is there and still knows this visitor; said when it is not, with the way on.
    let first = null, banner = null, said = "", timer = null;
    const tell = (words, link, href) => {
        if (said === words) return;
        said = words;
        banner?.remove();
        banner = null;
        if (!words) return;
        banner = document.createElement("div");
        banner.id = "lost";
        banner.setAttribute("role", "alert");
        banner.append(words + " ");
        if (link) {
            const way = document.createElement("a");
            way.href = href;
            way.textContent = link;
            banner.append(way);
        }
        (document.querySelector(".gradio-container") || document.body).prepend(banner);
    };
    const look = async () => {
        clearTimeout(timer);
        timer = setTimeout(look, 2000);
        if (document.hidden) return;
        const gone = "The studio cannot be reached. What it was making may have stopped. Trying again …";
        let answer;
        try {
            answer = await fetch("gradio_api/app_id", { cache: "no-store", signal: AbortSignal.timeout(15000) });
            if (answer.status === 401) {
                dispatchEvent(new Event("studio-signed-out"));
                return tell("You are signed out. What was at work goes on.", "Sign in again", "login");
            }
            if (answer.status >= 500) return tell(gone);
            if (!answer.ok) return;
            const id = JSON.stringify(await answer.json());
            first ??= id;
            if (id !== first) tell("The studio was started anew.", "Reload the page to go on", "./");
            else if (said) tell("The studio is there again.", "Reload the page to go on", "./");
        } catch { tell(gone); }
    };
    document.addEventListener("visibilitychange", look);
    look();
    new MutationObserver(changed).observe(document.documentElement, {
        // Gradio gives each radio a name of its own, and gives it again whenever the choices change.
        childList: true, subtree: true, attributes: true, attributeFilter: ["name"],
    });
})();
