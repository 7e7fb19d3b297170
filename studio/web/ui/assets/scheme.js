// Light or dark: as the visitor chose, else as the system says. Runs before anything is drawn.
(() => {
    const KEY = "studio-scheme", root = document.documentElement;
    const system = matchMedia("(prefers-color-scheme: dark)");
    const chosen = () => { try { return localStorage.getItem(KEY); } catch { return null; } };
    const paint = () => {
        const scheme = chosen() || (system.matches ? "dark" : "light");
        if (root.dataset.theme !== scheme) {
            root.dataset.theme = scheme;
            dispatchEvent(new Event("studio-scheme"));
        }
        // Gradio's own parts follow a class, which Gradio itself sets by the system alone.
        if (document.body?.classList.contains("dark") !== (scheme === "dark")) {
            document.body?.classList.toggle("dark", scheme === "dark");
        }
        const next = scheme === "dark" ? "light" : "dark";
        for (const button of document.querySelectorAll("button.scheme")) {
            const words = `Use the ${next} colours`;
            if (button.getAttribute("aria-label") !== words) button.setAttribute("aria-label", words);
        }
    };
    window.studioScheme = paint;
    system.addEventListener("change", paint);
    addEventListener("storage", paint);
    addEventListener("click", event => {
        if (!event.target.closest?.("button.scheme")) return;
        const next = root.dataset.theme === "dark" ? "light" : "dark";
        const asSystem = next === (system.matches ? "dark" : "light");
        try { asSystem ? localStorage.removeItem(KEY) : localStorage.setItem(KEY, next); } catch { return; }
        paint();
    });
    paint();
})();
