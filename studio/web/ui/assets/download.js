// "Download as" under an output: asks the studio for a format, which is made when it is asked for
// first, and saves the file under the name that the studio gives it.
(() => {
    const named = answer => {
        const header = answer.headers.get("Content-Disposition") || "";
        const encoded = /filename\*=utf-8''([^;]+)/.exec(header);
        return encoded ? decodeURIComponent(encoded[1]) : /filename="([^"]+)"/.exec(header)?.[1] || "output";
    };
    const why = async answer => {
        if (answer.status === 401) return "You are signed out. Sign in again to download.";
        const said = (await answer.json().catch(() => null))?.error?.message;
        return said ? `${said[0].toUpperCase()}${said.slice(1)}.`.replace(/\.\.$/, ".") : "The studio could not make this file. Try again.";
    };
    const download = async (button, menu) => {
        const state = menu.querySelector("[role=status]"), label = button.textContent;
        if (menu.dataset.busy) return;
        menu.dataset.busy = "1";
        state.textContent = `${label} is being made …`;
        try {
            const answer = await fetch(`api/v1/outputs/${button.dataset.id}/renditions/${button.dataset.form}`);
            if (!answer.ok) { state.textContent = await why(answer); return; }
            const link = document.createElement("a"), url = URL.createObjectURL(await answer.blob());
            link.href = url;
            link.download = named(answer);
            link.click();
            setTimeout(() => URL.revokeObjectURL(url), 60000);
            state.textContent = `${label}: saved as ${link.download}.`;
        } catch {
            state.textContent = "The studio does not answer. Try again once it is back.";
        } finally { delete menu.dataset.busy; }
    };
    addEventListener("click", event => {
        const button = event.target.closest?.("button[data-form]");
        if (button) download(button, button.closest(".download-as"));
    });
    addEventListener("keydown", event => {
        const menu = event.key === "Escape" && event.target.closest?.(".download-as[open]");
        if (menu) { menu.open = false; menu.querySelector("summary").focus(); }
    });
})();
