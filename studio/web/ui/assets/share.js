// "Share" under an output: makes, shows, copies and withdraws the link of the output.
(() => {
    const part = (menu, name) => menu.querySelector(`[data-share=${name}]`);
    const show = (menu, { path }) => {
        const field = menu.querySelector("input");
        field.value = path ? new URL(path, document.baseURI.split("#")[0]).href : "";
        field.hidden = part(menu, "copy").hidden = part(menu, "withdraw").hidden = !path;
        part(menu, "make").hidden = !!path;
    };
    const ask = async (menu, method, words) => {
        const state = menu.querySelector("[role=status]");
        state.textContent = "";
        try {
            const answer = await fetch(`api/v1/outputs/${menu.dataset.id}/share`, { method });
            const said = await answer.json().catch(() => ({}));
            if (answer.ok) { show(menu, said); state.textContent = words; }
            else if (answer.status === 401) state.textContent = "You are signed out. Sign in again to share.";
            else state.textContent = said.error ? `${said.error.message[0].toUpperCase()}${said.error.message.slice(1)}.` : "The studio could not do it. Try again.";
            return answer.ok;
        } catch {
            state.textContent = "The studio does not answer. Try again once it is back.";
            return false;
        }
    };
    const act = {
        make: async menu => { if (await ask(menu, "PUT", "The link is there.")) part(menu, "copy").focus(); },
        withdraw: async menu => { if (await ask(menu, "DELETE", "Withdrawn: the link opens nothing any more.")) part(menu, "make").focus(); },
        copy: async menu => {
            const field = menu.querySelector("input"), state = menu.querySelector("[role=status]");
            field.select();
            try { await navigator.clipboard.writeText(field.value); state.textContent = "Copied."; }
            catch { state.textContent = "The browser does not let the page copy; the link is selected."; }
        },
    };
    addEventListener("click", event => {
        const button = event.target.closest?.("button[data-share]");
        if (button) act[button.dataset.share](button.closest(".share"));
    });
    addEventListener("toggle", event => {
        if (event.target.matches?.(".share[open]")) ask(event.target, "GET", "");
    }, true);
})();
