// The editor of the lead sheet. Its value is the text alone; every field reads and writes lines of it, so that
// nothing typed as text is lost. What a chord or a note is the studio says (POST api/v1/sheets), with the bar.
const find = name => element.querySelector(name), all = name => [...element.querySelectorAll(name)];
const box = find(".sheet"), text = find("textarea"), parts = find(".sheet-parts"), rows = find(".sheet-form");
const problem = find(".sheet-problem"), live = find("[role=status]"), kinds = rows.dataset.kinds.split(" ");
const OPEN = "?", MOST_BARS = 64;
const TONICS = { minor: "C C# D Eb E F F# G G# A Bb B", major: "C Db D Eb E F F# G Ab A Bb B" };
let model = null, past = [], future = [], typing = null, answer = { spelling: TONICS.minor.split(" "), eighths: 8 };
let timer = null, asked = 0;
const melodies = new Set(), cursors = new Map();  // sections whose melody is shown; where the cursor stands in each

// -- the text ------------------------------------------------------------------------------------
const bars = value => {
    const found = [];
    for (const bar of value.trim().replace(/^\||\|$/g, "").split("|").map(each => each.trim().replace(/\s+/g, " "))) {
        found.push(bar === "%" && found.length ? found.at(-1) : bar === OPEN ? "" : bar);
    }
    return found;
};
const read = source => {
    const made = { key: "", tempo: "", metre: "", feel: "", form: [], chords: new Map(), melody: new Map(), rest: [], lines: [] };
    source.split("\n").forEach((row, number) => row.split(";").forEach(line => {
        const at = line.indexOf(":"), value = line.slice(at + 1).trim();
        const [word, section = "", more] = line.slice(0, at).trim().toLowerCase().split(/\s+/);
        if (!line.trim()) return;
        if (at > 0 && ["key", "tempo", "metre", "feel"].includes(word) && !section && !made[word]) made[word] = value;
        else if (at > 0 && word === "form" && !section && !made.form.length) {
            made.form = value.split(",").map(each => each.trim().split(/\s+/)).map(([name, count]) => ({ name, bars: count || "" }));
        } else if (at > 0 && ["chords", "melody"].includes(word) && !more && !made[word].has(section)) {
            made[word].set(section, bars(value));
            made.lines.push({ row: number + 1, word, section });
        } else made.rest.push(line.trim());
    }));
    return made;
};
const write = made => {
    const lines = ["key", "tempo", "metre", "feel"].filter(name => made[name]).map(name => `${name}: ${made[name]}`);
    if (made.form.length) lines.push(`form: ${made.form.map(each => `${each.name}${each.bars ? ` ${each.bars}` : ""}`).join(", ")}`);
    for (const word of ["chords", "melody"]) for (const [section, row] of made[word]) {
        const said = row.map(bar => bar || OPEN);
        if (said.some(bar => bar !== OPEN)) lines.push(`${word}${section && ` ${section}`}: ${said.join(" | ")}`);
    }
    return [...lines, ...made.rest].join("\n");
};
const current = () => (typeof props.value === "string" ? props.value : "");
// How many bars a section shows: as the form says, or as many as are written.
const size = section => {
    const said = Math.max(0, ...model.form.filter(each => each.name === section).map(each => Number(each.bars) || 0));
    return Math.min(MOST_BARS, said || Math.max(4, model.chords.get(section)?.length ?? 0, model.melody.get(section)?.length ?? 0));
};
// A row that is shorter than its section is played again from its start: shown so, and written so once it is changed.
const row = (word, section) => {
    const known = model[word].get(section) ?? [], count = size(section);
    return Array.from({ length: count }, (_, bar) => (known.length ? known[bar % known.length] : ""));
};
const sections = () => {
    const names = [...model.form.map(each => each.name), ...model.chords.keys(), ...model.melody.keys()];
    return [...new Set(model.form.length ? names : ["", ...names])];
};

// -- changes ---------------------------------------------------------------------------------------
const put = value => { props.value = value; if (text.value !== value) text.value = value; };
const commit = (value, field = null) => {
    if (value === current()) return;
    if (!field || field !== typing) past.push(current());
    typing = field;
    future = [];
    put(value);
    model = read(value);
    tools();
    ask();
};
const change = (act, field = null) => {
    act(model);
    commit(write(model), field);
    if (!field) draw();
};
const travel = (from, to, word) => {
    if (!from.length) return;
    to.push(current());
    typing = null;
    put(from.pop());
    draw();
    ask();
    live.textContent = word;
};
const tools = () => {
    find("[data-do=undo]").disabled = !past.length;
    find("[data-do=redo]").disabled = !future.length;
    find("[data-do=clear]").disabled = !current().trim();
    for (const way of ["up", "down"]) find(`[data-do=${way}]`).disabled = !model.key && !model.chords.size && !model.melody.size;
};

// -- what the studio says ----------------------------------------------------------------------------
const tags = () => [...document.querySelectorAll("#tags input[type=radio]:checked")].map(each => each.value).filter(Boolean);
const question = async steps => {
    const seconds = Number(document.querySelector("#duration input[type=number]")?.value);
    const body = { sheet: current(), tags: tags(), transpose: steps };
    if (seconds >= 3 && seconds <= 600) body.duration_s = seconds;
    const said = await fetch("api/v1/sheets", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
    if (!said.ok) throw Error(said.status === 401 ? "You are signed out. Sign in again to go on." : "The lead sheet cannot be checked at the moment.");
    return said.json();
};
const show = said => {
    for (const each of all("[aria-invalid]")) { each.removeAttribute("aria-invalid"); each.removeAttribute("aria-describedby"); }
    const wrong = said.problem;
    const length = find(".sheet-length");
    length.textContent = said.duration_s ? `${model.form.reduce((sum, each) => sum + (Number(each.bars) || size(each.name)), 0)} bars, ${Math.round(said.duration_s)} s` : "";
    let words = "";
    if (wrong) {
        const line = model.lines.find(each => each.row === wrong.line), word = line?.word ?? (/notes/.test(wrong.message) ? "melody" : "chords");
        const section = line?.section ?? (wrong.section === "melody" ? "" : wrong.section);
        const named = [section, wrong.bar && `bar ${wrong.bar}`, !section && !wrong.bar && wrong.line && `line ${wrong.line}`].filter(Boolean).join(", ");
        words = `${named && `${named}: `}${wrong.message}`;
        words = `${words[0].toUpperCase()}${words.slice(1)}.`;
        if (wrong.bar) for (const own of [section, ""]) {
            const cell = find(`[data-key="${word}/${own}/${wrong.bar - 1}"]`);
            if (!cell) continue;
            cell.setAttribute("aria-invalid", "true");
            cell.setAttribute("aria-describedby", problem.id ||= "sheet-problem");
            break;
        }
    }
    if (problem.textContent !== words) problem.textContent = words;
    if (said.key || !wrong) {
        const respelled = String(answer.spelling) !== String(said.spelling) || answer.eighths !== said.eighths;
        answer = said;
        if (respelled) for (const roll of all("canvas")) roll.paint?.();
    }
};
const ask = () => {
    clearTimeout(timer);
    const mine = ++asked;
    if (!current().trim()) return show({ ...answer, duration_s: null, problem: null });
    timer = setTimeout(async () => {
        try {
            const said = await question(0);
            if (mine === asked) show(said);
        } catch (error) { if (mine === asked && error.name === "Error") problem.textContent = error.message; }
    }, 250);
};
const transpose = async steps => {
    try {
        const said = await question(steps);
        if (said.text === current()) return show(said);  // it cannot be moved; the studio says why
        commit(said.text);
        draw();
        live.textContent = said.key ? `Transposed; the key is ${said.key}` : "Transposed";
    } catch (error) { problem.textContent = error.message; }
};

// -- drawing -----------------------------------------------------------------------------------------
const node = (tag, set = {}, ...inside) => {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(set)) name in made && name !== "list" ? made[name] = value : made.setAttribute(name, value);
    made.append(...inside);
    return made;
};
const mark = (made, key) => { made.dataset.key = key; return made; };
const title = section => section || "every section";
const button = (words, label, key, act, off = false) => {
    const made = mark(node("button", { type: "button", textContent: words, onclick: act, disabled: off }), key);
    made.setAttribute("aria-label", label);
    return made;
};

const drawKey = () => {
    const [, tonic = "", mode = ""] = model.key.match(/^(\S+?)(?:m(?!\S))?(?:\s+(.*))?$/) ?? [];
    const minor = /^\S+m$/.test(model.key.trim()), named = mode.toLowerCase() || (minor ? "minor" : "major");
    const picked = find("[name=mode]"), list = find("[name=tonic]");
    if ([...picked.options].some(each => each.value === named)) picked.value = named;
    const names = TONICS[/minor|dorian|phrygian/.test(picked.value) ? "minor" : "major"].split(" ");
    if (tonic && !names.includes(tonic)) names.push(tonic);
    list.replaceChildren(new Option("open", ""), ...names.map(name => new Option(name)));
    list.value = tonic;
};
const drawForm = () => rows.replaceChildren(...model.form.map((each, place) => {
    const last = model.form.length - 1, at = `Section ${place + 1}, ${each.name}`;
    const names = [...new Set([...kinds, ...[2, 3].map(number => `verse${number}`), each.name])];
    const name = mark(node("select", { onchange: event => change(made => { made.form[place].name = event.target.value; }) }, ...names.map(one => new Option(one))), `form/${place}/name`);
    name.value = each.name;
    name.setAttribute("aria-label", `${at}: kind`);
    const count = mark(node("input", { type: "number", min: 1, max: MOST_BARS, value: each.bars, placeholder: size(each.name) }), `form/${place}/bars`);
    count.setAttribute("aria-label", `${at}: bars`);
    count.onchange = () => change(made => { made.form[place].bars = Math.max(0, Math.min(MOST_BARS, Math.round(Number(count.value) || 0))) || ""; });
    const swap = by => change(made => {
        [made.form[place], made.form[place + by]] = [made.form[place + by], made.form[place]];
        setTimeout(() => find(`[data-key="form/${place + by}/${by < 0 ? "up" : "down"}"]`)?.focus());
    });
    return node("li", {}, name, count, node("span", { className: "small soft", textContent: "bars" }),
        button("↑", `${at}: earlier`, `form/${place}/up`, () => swap(-1), !place),
        button("↓", `${at}: later`, `form/${place}/down`, () => swap(1), place === last),
        button("×", `${at}: remove`, `form/${place}/off`, () => change(made => { made.form.splice(place, 1); })));
}));

const cell = (word, section, bar, value) => {
    const made = mark(node("input", { type: "text", value, placeholder: "open", autocomplete: "off", spellcheck: false }), `${word}/${section}/${bar}`);
    made.setAttribute("aria-label", `${title(section)}, bar ${bar + 1}: ${word}`);
    made.oninput = () => change(all => {
        const known = row(word, section);
        known[bar] = made.value.replace(/[|;:\n]/g, " ").trim();
        all[word].set(section, known);
    }, made.dataset.key);
    made.onchange = () => { typing = null; for (const roll of all("canvas")) roll.paint?.(); };
    made.onkeydown = event => {
        const by = event.key === "Enter" ? (event.shiftKey ? -1 : 1) : 0;
        if (!by) return;
        event.preventDefault();
        find(`[data-key="${word}/${section}/${bar + by}"]`)?.focus();
    };
    return made;
};
const drawPart = section => {
    const chords = row("chords", section), notes = row("melody", section), shown = melodies.has(section) || model.melody.has(section);
    const grid = node("div", { className: "sheet-bars" }, ...chords.map((chord, bar) => node("div", { className: "sheet-bar" },
        node("span", { className: "small soft", textContent: bar + 1, ariaHidden: "true" }), cell("chords", section, bar, chord),
        ...(shown ? [cell("melody", section, bar, notes[bar])] : []))));
    const toggle = button("Melody", `Melody of ${title(section)}`, `notes/${section}`, () => {
        if (model.melody.has(section)) change(made => { made.melody.delete(section); melodies.delete(section); });
        else { melodies.has(section) ? melodies.delete(section) : melodies.add(section); draw(); }
    });
    toggle.setAttribute("aria-pressed", String(shown));
    const head = node("div", { className: "sheet-row" }, node("h4", { textContent: title(section) }), toggle);
    if (!model.form.length) {
        const more = by => change(made => {
            const count = Math.max(1, Math.min(MOST_BARS, chords.length + by));
            for (const word of ["chords", "melody"]) {
                if (word === "melody" && !made.melody.has(section)) continue;
                const known = row(word, section);
                made[word].set(section, Array.from({ length: count }, (_, bar) => known[bar] ?? ""));
            }
            kept.set(section, count);
        });
        head.append(button("− bar", `${title(section)}: one bar less`, `less/${section}`, () => more(-1), chords.length < 2),
            button("+ bar", `${title(section)}: one bar more`, `more/${section}`, () => more(1)));
    }
    return node("section", { ariaLabel: `Bars of ${title(section)}` }, head, ...(shown ? [roll(section)] : []), grid);
};
const kept = new Map();  // bars shown of a section whose bars are all open
const draw = () => {
    model = read(current());
    for (const [section, count] of kept) if (!model.chords.has(section) && !model.form.length) model.chords.set(section, Array(count).fill(""));
    const focused = document.activeElement?.dataset?.key;
    drawKey();
    for (const name of ["tempo", "metre", "feel"]) if (find(`[name=${name}]`) !== document.activeElement || name !== "tempo") find(`[name=${name}]`).value = model[name];
    drawForm();
    parts.replaceChildren(...sections().map(drawPart));
    for (const each of all("canvas")) each.paint();
    if (text.value !== current()) text.value = current();
    tools();
    if (focused && document.activeElement?.dataset?.key !== focused) find(`[data-key="${CSS.escape(focused)}"]`)?.focus();
};

// -- the piano roll ----------------------------------------------------------------------------------
const ROWS = 18, TALL = 12, WIDE = 96, GUTTER = 34;
const pitchOf = word => {
    const match = word.match(/^([A-Ga-g])([#b♯♭]{0,2})(-?\d)$/);
    if (!match) return null;
    const shift = [...match[2]].reduce((sum, sign) => sum + ("#♯".includes(sign) ? 1 : -1), 0);
    return 12 * (Number(match[3]) + 1) + { C: 0, D: 2, E: 4, F: 5, G: 7, A: 9, B: 11 }[match[1].toUpperCase()] + shift;
};
const nameOf = pitch => {
    const name = answer.spelling[pitch % 12], letter = { C: 0, D: 2, E: 4, F: 5, G: 7, A: 9, B: 11 }[name[0]];
    const shift = ((pitch % 12) - letter + 18) % 12 - 6;
    return `${name}${Math.floor((pitch - shift) / 12) - 1}`;
};
const roll = section => {
    const at = cursors.get(section) ?? { step: 0, pitch: 72, low: 60 };
    cursors.set(section, at);
    const canvas = mark(node("canvas", { className: "sheet-roll", tabIndex: 0 }), `roll/${section}`);
    canvas.setAttribute("role", "application");
    canvas.setAttribute("aria-label", `Piano roll of ${title(section)}: arrows move, Enter sets or removes a note, Shift with left or right makes it shorter or longer`);
    // Every step of every bar, with its word; an open bar has the steps of the metre and rests.
    const steps = () => row("melody", section).flatMap((bar, number) => {
        const words = bar ? bar.split(" ") : Array(answer.eighths || 8).fill(".");
        return words.map((word, slot) => ({ bar: number, slot, of: words.length, word, open: !bar }));
    });
    const notes = flat => {
        const found = [];
        flat.forEach((each, step) => {
            if (each.word === "-") { if (found.length && found.at(-1).end === step) found.at(-1).end++; }
            else if (pitchOf(each.word) !== null) found.push({ step, end: step + 1, pitch: pitchOf(each.word) });
        });
        return found;
    };
    const save = (flat, field) => {
        const made = row("melody", section);
        for (const bar of new Set(flat.filter(each => each.touched).map(each => each.bar))) {
            made[bar] = flat.filter(each => each.bar === bar).map(each => each.word).join(" ");
        }
        model.melody.set(section, made);
        commit(write(model), field);
        made.forEach((bar, number) => { const cell = find(`[data-key="melody/${section}/${number}"]`); if (cell) cell.value = bar; });
        canvas.paint();
    };
    const set = (flat, step, word) => { flat[step].word = word; flat[step].touched = true; };
    const under = (flat, step) => notes(flat).find(each => each.step <= step && step < each.end);
    const erase = (flat, note) => { for (let step = note.step; step < note.end; step++) set(flat, step, "."); };
    const toggle = (step, pitch) => {
        const flat = steps(), note = under(flat, step);
        if (note && note.pitch === pitch) erase(flat, note);
        else { if (note) erase(flat, note); set(flat, step, nameOf(pitch)); }
        save(flat);
        return !(note && note.pitch === pitch);
    };
    const stretch = (step, end) => {
        const flat = steps(), note = under(flat, step);
        if (!note) return;
        erase(flat, note);
        set(flat, note.step, nameOf(note.pitch));
        for (let next = note.step + 1; next < Math.min(end, flat.length) && flat[next].of === flat[note.step].of && flat[next].word === "."; next++) set(flat, next, "-");
        save(flat, `roll/${section}/${note.step}`);
    };
    const say = () => {
        const flat = steps(), here = flat[at.step], note = under(flat, at.step);
        live.textContent = `bar ${here.bar + 1}, step ${here.slot + 1} of ${here.of}, ${nameOf(at.pitch)}${note ? note.pitch === at.pitch ? ", note" : `, here sounds ${nameOf(note.pitch)}` : ""}`;
    };
    const place = event => {
        const flat = steps(), count = size(section), x = event.offsetX - GUTTER, bar = Math.floor(x / (canvas.clientWidth - GUTTER) * count);
        if (bar < 0 || bar >= count) return null;
        const of = flat.find(each => each.bar === bar).of, slot = Math.floor((x / (canvas.clientWidth - GUTTER) * count - bar) * of);
        return { step: flat.findIndex(each => each.bar === bar) + slot, pitch: at.low + ROWS - 1 - Math.floor(event.offsetY / TALL) };
    };
    let drag = null;
    canvas.onpointerdown = event => {
        const here = place(event);
        if (!here || here.pitch < at.low) return;
        const note = under(steps(), here.step), on = note?.pitch === here.pitch;
        drag = { step: here.step, fresh: !on, moved: false, pitch: here.pitch, start: on ? note.step : here.step };
        if (!on) toggle(here.step, here.pitch);
        Object.assign(at, { step: here.step, pitch: here.pitch });
        canvas.setPointerCapture(event.pointerId);
        canvas.paint();
    };
    canvas.onpointermove = event => {
        const here = drag && place(event);
        if (!here || here.step === drag.step) return;
        drag.moved = true;
        drag.step = here.step;
        if (here.step >= drag.start) stretch(drag.start, here.step + 1);
    };
    canvas.onpointerup = () => {
        if (drag && !drag.fresh && !drag.moved) toggle(drag.start, drag.pitch);
        drag = null;
        typing = null;
    };
    canvas.onkeydown = event => {
        if (event.ctrlKey || event.metaKey || event.altKey) return;
        const flat = steps(), note = under(flat, at.step);
        const move = (step, pitch) => {
            at.step = Math.max(0, Math.min(flat.length - 1, step));
            at.pitch = Math.max(24, Math.min(107, pitch));
            at.low = Math.max(24, Math.min(at.low, at.pitch), at.pitch - ROWS + 1);
        };
        const act = {
            ArrowLeft: () => event.shiftKey ? note && stretch(at.step, Math.max(note.step + 1, note.end - 1)) : move(at.step - 1, at.pitch),
            ArrowRight: () => event.shiftKey ? note && stretch(at.step, note.end + 1) : move(at.step + 1, at.pitch),
            ArrowUp: () => move(at.step, at.pitch + (event.shiftKey ? 12 : 1)), ArrowDown: () => move(at.step, at.pitch - (event.shiftKey ? 12 : 1)),
            Home: () => move(0, at.pitch), End: () => move(flat.length - 1, at.pitch),
            Enter: () => toggle(at.step, at.pitch), " ": () => toggle(at.step, at.pitch),
            Delete: () => { if (note) { erase(flat, note); save(flat); } }, Backspace: () => { if (note) { erase(flat, note); save(flat); } },
        }[event.key];
        if (!act) return;
        event.preventDefault();
        act();
        say();
        canvas.paint();
        const x = GUTTER + (flat[at.step].bar + flat[at.step].slot / flat[at.step].of) / size(section) * (canvas.clientWidth - GUTTER);
        const holder = canvas.parentNode;
        if (x < holder.scrollLeft + GUTTER || x > holder.scrollLeft + holder.clientWidth - 20) holder.scrollLeft = x - GUTTER - 10;
    };
    canvas.onfocus = () => { say(); canvas.paint(); };
    canvas.onblur = () => { typing = null; canvas.paint(); };
    canvas.paint = () => {
        const flat = steps(), count = size(section), wide = Math.max(GUTTER + count * WIDE, holder.clientWidth), tall = ROWS * TALL, scale = devicePixelRatio || 1;
        at.step = Math.min(at.step, flat.length - 1);
        canvas.style.width = `${wide}px`;
        canvas.style.height = `${tall}px`;
        canvas.width = Math.round(wide * scale);
        canvas.height = Math.round(tall * scale);
        const pen = canvas.getContext("2d"), colour = name => getComputedStyle(canvas).getPropertyValue(name), each = (wide - GUTTER) / count;
        const x = step => GUTTER + (flat[step].bar + flat[step].slot / flat[step].of) * each, y = pitch => (ROWS - 1 - pitch + at.low) * TALL;
        pen.scale(scale, scale);
        pen.font = "10px system-ui, sans-serif";
        for (let pitch = at.low; pitch < at.low + ROWS; pitch++) {
            pen.fillStyle = colour([1, 3, 6, 8, 10].includes(pitch % 12) ? "--paper" : "--card");
            pen.fillRect(GUTTER, y(pitch), wide, TALL);
            pen.fillStyle = colour("--ink-soft");
            pen.fillText(nameOf(pitch), 4, y(pitch) + TALL - 2);
        }
        flat.forEach((one, step) => {
            pen.fillStyle = colour(one.slot ? "--line" : "--control");
            pen.fillRect(x(step), 0, 1, tall);
        });
        for (const note of notes(flat)) {
            const from = x(note.step), last = note.end - 1, to = x(last) + each / flat[last].of;
            pen.fillStyle = colour("--accent");
            if (note.pitch >= at.low && note.pitch < at.low + ROWS) pen.fillRect(from + 1, y(note.pitch) + 1, to - from - 2, TALL - 2);
            else pen.fillRect(from + 1, note.pitch < at.low ? tall - 3 : 0, to - from - 2, 3);  // higher or lower than what is in sight
        }
        if (document.activeElement === canvas) {
            pen.strokeStyle = colour("--ink");
            pen.lineWidth = 2;
            pen.strokeRect(x(at.step), y(at.pitch), each / flat[at.step].of, TALL);
        }
    };
    const holder = node("div", { className: "sheet-roll-box" }, canvas);
    const first = notes(steps())[0];
    if (first && (first.pitch < at.low || first.pitch >= at.low + ROWS)) at.low = Math.max(24, first.pitch - ROWS + 8);
    return holder;
};

// -- fields and buttons --------------------------------------------------------------------------------
const keyed = () => change(made => {
    const tonic = find("[name=tonic]").value;
    made.key = tonic && `${tonic} ${find("[name=mode]").value}`;
});
find("[name=tonic]").onchange = keyed;
find("[name=mode]").onchange = keyed;
find("[name=tempo]").oninput = event => change(made => { made.tempo = event.target.value; }, "tempo");
find("[name=tempo]").onchange = () => { typing = null; };
for (const name of ["metre", "feel"]) find(`[name=${name}]`).onchange = event => change(made => { made[name] = event.target.value; });
text.oninput = () => { commit(text.value, "text"); };
text.onchange = () => { typing = null; draw(); };
let taps = [];
const tap = () => {
    const now = performance.now();
    if (taps.length && now - taps.at(-1) > 2000) taps = [];
    taps = [...taps.slice(-8), now];
    if (taps.length < 3) { live.textContent = "Tap on"; return; }
    const bpm = Math.round(60000 * (taps.length - 1) / (now - taps[0]));
    change(made => { made.tempo = String(Math.max(50, Math.min(200, bpm))); }, "tap");
    find("[name=tempo]").value = model.tempo;
    live.textContent = `${model.tempo} beats a minute`;
};
const acts = {
    undo: () => travel(past, future, "Undone"), redo: () => travel(future, past, "Done again"), tap,
    up: () => transpose(1), down: () => transpose(-1),
    clear: () => { kept.clear(); melodies.clear(); commit(""); draw(); live.textContent = "Cleared; Undo brings it back"; },
    add: () => {
        const next = ["verse", "chorus", "ending"][model.form.length] ?? "verse";
        change(made => { made.form.push({ name: next, bars: next === "ending" ? 2 : 4 }); });
    },
};
box.addEventListener("click", event => {
    const way = event.target.closest?.("[data-do]");
    if (!way) return;
    acts[way.dataset.do]();
    if (way.disabled) find("[data-do=undo]:enabled, [data-do=redo]:enabled, summary")?.focus();
});
box.addEventListener("keydown", event => {
    if (!(event.ctrlKey || event.metaKey) || event.altKey || /INPUT|TEXTAREA/.test(event.target.tagName)) return;
    const back = event.key.toLowerCase() === "z" && !event.shiftKey, on = event.key.toLowerCase() === "y" || event.key.toLowerCase() === "z" && event.shiftKey;
    if (back || on) { event.preventDefault(); acts[back ? "undo" : "redo"](); }
});
box.addEventListener("toggle", () => { if (box.open) draw(); });
new ResizeObserver(() => { for (const each of all("canvas")) each.paint?.(); }).observe(box);
addEventListener("studio-scheme", () => { for (const each of all("canvas")) each.paint?.(); });
document.addEventListener("change", event => { if (event.target.closest?.("#tags, #duration") && current().trim()) ask(); });
// The sheet of an output, taken into the form: can be undone like any change.
window.studioSheet = value => {
    commit(value);
    box.open = true;
    draw();
    box.scrollIntoView({ block: "start", behavior: "smooth" });
    find("summary").focus({ preventScroll: true });
};
let shown = null;
watch("value", () => { if (current() !== shown && current() !== text.value) { draw(); ask(); box.open ||= Boolean(current()); } shown = current(); });
draw();
