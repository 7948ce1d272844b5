// A blind comparison of films, two at a time. Plain JavaScript for every current browser; nothing is fetched.
// design.js has set BENCH4D_STUDY: questions, films under names that say nothing, and lists of comparisons.
"use strict";
(function () {
  const study = BENCH4D_STUDY;
  const CHOICES = [["left", "A"], ["same", "No difference"], ["right", "B"]];
  const STORE = "bench4d-study-" + study.sha256;
  const narrow = matchMedia("(max-width: 52rem)");
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  const main = document.getElementById("main");
  let state = null; // what is kept and, at the end, exported
  let kept = true; // whether this browser lets us keep it
  let screen = null; // the comparison that is shown: its keys, and how to stop its clock

  // ---- small tools ------------------------------------------------------------------------------------------------

  /** An element with properties and children; text is text, never markup. */
  function el(name, properties, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(properties || {})) {
      if (key in made) made[key] = value;
      else made.setAttribute(key, value);
    }
    made.append(...children);
    return made;
  }

  function keys(...names) {
    return names.flatMap((name, k) => (k ? [" ", el("kbd", {}, name)] : [el("kbd", {}, name)]));
  }

  function random(count) {
    return crypto.getRandomValues(new Uint32Array(1))[0] % count;
  }

  function store(value) {
    try {
      if (value === null) localStorage.removeItem(STORE);
      else localStorage.setItem(STORE, JSON.stringify(value));
    } catch (error) {
      kept = false; // some browsers forbid it to pages opened from disk
    }
  }

  function stored() {
    try {
      const found = JSON.parse(localStorage.getItem(STORE));
      return found && found.design_sha256 === study.sha256 && study.lists[found.list] ? found : null;
    } catch (error) {
      kept = kept && error instanceof SyntaxError;
      return null;
    }
  }

  function fresh(code) {
    const asked = Number(new URLSearchParams(location.search).get("list"));
    const letters = "abcdefghijkmnpqrstuvwxyz23456789";
    return {
      format: "bench4d-votes",
      version: 1,
      study: study.id,
      design_sha256: study.sha256,
      participant: Array.from({ length: 12 }, () => letters[random(letters.length)]).join(""),
      code: code,
      list: study.lists[asked - 1] ? asked - 1 : random(study.lists.length),
      started: new Date().toISOString(),
      finished: null,
      votes: [],
    };
  }

  function show(progress, share, ...children) {
    if (screen) screen.stop();
    screen = null;
    document.getElementById("progress").textContent = progress;
    document.getElementById("done").style.width = 100 * share + "%";
    main.replaceChildren(...children);
    scrollTo(0, 0);
    const head = main.querySelector("h2");
    if (head) Object.assign(head, { tabIndex: -1 }).focus();
  }

  // ---- films ------------------------------------------------------------------------------------------------------

  const pictures = new Map(); // file -> promise of its decoded picture

  function picture(file) {
    if (!pictures.has(file)) {
      const image = new Image();
      image.src = file;
      pictures.set(file, image.decode().then(() => image));
    }
    return pictures.get(file);
  }

  function load(trial) {
    const sides = ["input", "left", "right"].flatMap((side) => study.films[trial[side]].parts);
    return Promise.all(sides.map((part) => picture(part.file)));
  }

  /** Canvases of a film, one a view; draw(k) shows frame k of all of them. */
  function player(film, name) {
    const canvases = film.parts.map((part, v) => {
      const label = name + (film.parts.length > 1 ? ", view " + (v + 1) : "");
      return el("canvas", { width: part.width, height: part.height, role: "img", "aria-label": label });
    });
    function draw(k) {
      film.parts.forEach((part, v) => {
        pictures.get(part.file).then((image) => {
          const at = k % part.frames;
          const x = (at % part.columns) * part.width;
          const y = Math.floor(at / part.columns) * part.height;
          const size = [part.width, part.height];
          canvases[v].getContext("2d").drawImage(image, x, y, ...size, 0, 0, ...size);
        });
      });
    }
    return { canvases, draw };
  }

  /** One clock for all films of a comparison. tick(k, loop) is called for every frame that is shown. */
  function clock(count, tick) {
    let playing = !still.matches;
    let began = performance.now();
    let last = -1;
    let timer = 0;
    function now() {
      return Math.floor(((performance.now() - began) / 1000) * study.fps);
    }
    function step() {
      if (playing && now() !== last) {
        last = now();
        tick(last % count, Math.floor(last / count));
      }
      timer = requestAnimationFrame(step);
    }
    function seek(frame) {
      last = frame;
      began = performance.now() - (frame / study.fps) * 1000;
      tick(frame % count, Math.floor(frame / count));
    }
    seek(0);
    timer = requestAnimationFrame(step);
    return {
      get playing() {
        return playing;
      },
      get frame() {
        return Math.max(0, last) % count;
      },
      play(on) {
        seek(Math.max(0, last));
        playing = on;
      },
      seek: (frame) => seek(((frame % count) + count) % count),
      stop: () => cancelAnimationFrame(timer),
    };
  }

  // ---- screens ----------------------------------------------------------------------------------------------------

  function welcome() {
    const count = study.lists[0].length;
    const page = document.getElementById("welcome").content.cloneNode(true).firstElementChild;
    const find = (id) => page.querySelector("#" + id);
    find("count").textContent = count;
    find("minutes").textContent = Math.ceil(count / 3);
    find("asked").append(...study.questions.map((q) => el("li", {}, el("b", {}, q.title), ": " + q.text)));
    find("forgetful").hidden = kept;
    find("begin").onclick = () => {
      state = fresh(find("code").value.trim());
      store(state);
      compare();
    };
    show("", 0, page);
  }

  function compare() {
    const list = study.lists[state.list];
    const at = Math.min(state.votes.length, list.length - 1);
    if (state.votes.length >= list.length) {
      finish();
      return;
    }
    const trial = list[at];
    const label = `Comparison ${at + 1} of ${list.length}`;
    show(label, at / list.length, el("p", {}, "Loading …"));
    load(trial).then(
      () => {
        if (list[at + 1]) load(list[at + 1]).catch(() => 0); // meanwhile, for the next one
        trialScreen(trial, label, at, list.length);
      },
      () => show(label, at / list.length, el("h2", {}, "A film is missing"),
        el("p", {}, "The folder “media” must lie beside this page, whole. Was the archive unpacked?")),
    );
  }

  function trialScreen(trial, label, at, count) {
    const before = (state.redo && state.redo.answers) || {};
    const answers = {};
    const began = performance.now();
    const films = [["input", "Input film"], ["left", "A"], ["right", "B"]];
    const players = films.map(([side, name]) => player(study.films[trial[side]], name));
    const frames = study.films[trial.left].parts[0].frames;
    const seen = new Set();
    let shownView = narrow.matches && study.views > 1 ? "turn" : "all";

    const stage = el("div", { className: "stage" }, ...films.map(([side, name], k) => {
      const views = el("div", { className: "views" }, ...players[k].canvases);
      const columns = side === "input" || study.views === 1 ? 1 : 2;
      views.style.setProperty("--columns", columns);
      return el("figure", { className: "side " + side }, el("figcaption", {}, name), views);
    }));
    const play = el("button", { type: "button", className: "play", onclick: () => toggle() });
    const slider = el("input", { type: "range", min: 0, max: frames - 1, step: 1, "aria-label": "Time" });
    slider.oninput = () => pauseAt(Number(slider.value));
    const choices = ["all", "turn", ...Array.from({ length: study.views }, (_, v) => v)];
    const names = { all: "All", turn: "In turn" };
    const viewButtons = study.views < 2 ? [] : choices.map((choice) => el("button",
      { type: "button", onclick: () => setView(choice), "aria-label": choice in names ? "Views: " + names[choice]
        : "View " + (choice + 1) }, names[choice] || String(choice + 1)));
    const controls = el("div", { className: "controls" }, play, slider,
      el("div", { className: "views-of" }, ...(viewButtons.length ? [el("span", {}, "Views"), ...viewButtons] : [])));
    const fields = study.questions.map(field);
    const next = el("button", { type: "button", className: "main", onclick: () => forward() },
      at + 1 < count ? "Next" : "Finish");
    const back = el("button", { type: "button", onclick: () => backward(), disabled: at === 0 }, "Back");
    const why = el("span", { className: "why", role: "status" });
    const help = el("span", { className: "keys" }, ...keys("1", "2", "3"), " answer  ", ...keys("Enter"), " next  ",
      ...keys("P"), " pause  ", ...keys("V"), " view");
    show(label, at / count, el("h2", { className: "hidden" }, label), stage, controls,
      el("div", { className: "questions" }, ...fields), el("div", { className: "steps" }, next, back, why, help));

    function field(question, q) {
      const options = CHOICES.map(([value, text]) => {
        const input = el("input", { type: "radio", name: question.id, value: value });
        input.checked = before[question.id] === value;
        if (input.checked) answers[question.id] = value;
        input.onchange = () => answer(q, value);
        return el("label", {}, input, text);
      });
      const made = el("fieldset", {}, el("legend", { tabIndex: -1 }, question.title), el("p", {}, question.text),
        el("div", { className: "options" }, ...options));
      made.addEventListener("focusin", () => mark(q));
      return made;
    }
    function current() {
      const focused = fields.findIndex((made) => made.contains(document.activeElement));
      if (focused >= 0) return focused;
      return study.questions.findIndex((question) => !(question.id in answers));
    }
    function mark(q) {
      fields.forEach((made, k) => made.classList.toggle("current", k === q));
    }
    function answer(q, value) {
      answers[study.questions[q].id] = value;
      mark(current());
      check();
    }
    function pick(choice) {
      const q = current();
      if (q < 0) return;
      const input = fields[q].querySelectorAll("input")[choice];
      input.checked = true;
      answer(q, input.value);
      const open = study.questions.findIndex((question) => !(question.id in answers));
      if (open >= 0) fields[open].querySelector("legend").focus(); // reads the question to those who listen
      else if (next.disabled) input.focus();
      else next.focus();
      mark(open);
    }
    function missing() {
      if (study.questions.some((question) => !(question.id in answers))) return "Please answer every question.";
      return seen.size < frames ? "Please watch the films once to the end." : "";
    }
    function check() {
      next.disabled = missing() !== "";
      const all = study.questions.every((question) => question.id in answers);
      if (!missing()) why.textContent = "";
      else if (all) why.textContent = missing();
    }
    function forward() {
      if (missing()) {
        why.textContent = missing();
        return;
      }
      const seconds = Math.round((performance.now() - began) / 100) / 10 + ((state.redo && state.redo.seconds) || 0);
      delete state.redo;
      state.votes.push({ trial: at, left: trial.left, right: trial.right, seconds: seconds, answers: answers });
      store(state);
      compare();
    }
    function backward() {
      if (at === 0) return;
      state.redo = state.votes.pop();
      compare();
    }
    function toggle(on = !time.playing) {
      time.play(on);
      play.textContent = on ? "Pause" : "Play";
    }
    function pauseAt(frame) {
      toggle(false);
      time.seek(frame);
    }
    function setView(choice) {
      shownView = choice;
      viewButtons.forEach((button, k) => button.setAttribute("aria-pressed", String(choices[k] === choice)));
      arrange(0);
    }
    function arrange(loop) {
      const one = shownView === "turn" ? loop % study.views : shownView;
      for (const k of [1, 2]) {
        players[k].canvases.forEach((canvas, v) => {
          canvas.hidden = one !== "all" && v !== one;
        });
        stage.children[k].querySelector(".views").style.setProperty("--columns", one === "all" && study.views > 1 ? 2 : 1);
        const text = ["A", "B"][k - 1];
        const part = one === "all" || study.views === 1 ? "" : ` view ${one + 1} of ${study.views}`;
        stage.children[k].querySelector("figcaption").replaceChildren(text, el("small", {}, part));
      }
    }
    function tick(frame, loop) {
      players.forEach((one) => one.draw(frame));
      slider.value = frame;
      seen.add(frame);
      if (seen.size === frames) check();
      if (shownView === "turn") arrange(loop);
    }
    const time = clock(frames, tick);
    screen = {
      stop: time.stop,
      keys: {
        1: () => pick(0),
        2: () => pick(1),
        3: () => pick(2),
        Enter: forward,
        Backspace: backward,
        p: () => toggle(),
        v: () => study.views > 1 && setView(choices[(choices.indexOf(shownView) + 1) % choices.length]),
        ",": () => pauseAt(time.frame - 1),
        ".": () => pauseAt(time.frame + 1),
      },
    };
    toggle(!still.matches);
    setView(shownView);
    mark(current());
    check();
  }

  function finish() {
    if (!state.finished) {
      state.finished = new Date().toISOString();
      store(state);
    }
    const text = JSON.stringify(state, null, 1) + "\n";
    const name = `votes-${study.id}-${state.participant}.json`;
    const status = el("p", { role: "status" });
    const box = el("textarea", { id: "votes", readOnly: true, value: text });
    const save = el("button", { type: "button", className: "main", onclick: () => {
      const link = el("a", { href: URL.createObjectURL(new Blob([text], { type: "application/json" })), download: name });
      document.body.append(link);
      link.click();
      link.remove();
      setTimeout(() => URL.revokeObjectURL(link.href), 10000);
      status.textContent = `Saved as ${name}, where this browser keeps downloads. Please send that file.`;
    } }, "Save my answers");
    const again = el("button", { type: "button", onclick: () => {
      if (!confirm("Have the answers been saved? They are removed from this page.")) return;
      store(null);
      state = null;
      welcome();
    } }, "Next participant");
    show("Finished", 1, el("div", { className: "prose" },
      el("h2", {}, "Thank you!"),
      el("p", {}, "One step is left: save your answers and send the file to whoever invited you."),
      el("p", {}, save), status,
      el("p", {}, el("label", { htmlFor: "votes" }, "If saving does not work here, copy this text and send it:"), box),
      el("p", {}, again)));
    save.focus();
  }

  // ---- keys and start ---------------------------------------------------------------------------------------------

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !screen) return;
    if (event.target.matches("input[type=text], textarea")) return;
    const name = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (name === "Enter" && event.target.matches("button")) return; // it presses that button
    const action = Object.hasOwn(screen.keys, name) && screen.keys[name];
    if (!action || event.repeat) return;
    event.preventDefault();
    action();
  });
  document.getElementById("title").textContent = document.title = study.title;
  state = stored();
  if (state) compare();
  else welcome();
})();
