"use strict";

(() => {
  // Names come as data and are shown as text: nothing is ever parsed as HTML.
  const page = JSON.parse(document.getElementById("data").textContent);
  const OPEN = null;
  const UNSURE = -1;
  const KEYS = 9;
  const byId = (id) => document.getElementById(id);
  const examples = [...document.querySelectorAll(".example")];
  const classButtons = [...document.querySelectorAll(".class")];
  const mapButtons = [...document.querySelectorAll("#map button")];
  const search = byId("search");

  // What is kept: the answer to each example, the order in which they were given, and two wishes.

  const fresh = () => ({ answers: page.rows.map(() => OPEN), past: [], at: 0, guesses: false, keys: true });
  let state = restored() ?? fresh();
  let overview = false;
  let unsaved = false;

  function restored() {
    try {
      const kept = JSON.parse(localStorage.getItem(page.key));
      const isAnswer = (a) => a === OPEN || (Number.isInteger(a) && a >= UNSURE && a < page.classes.length);
      const isRow = (n) => Number.isInteger(n) && n >= 0 && n < page.rows.length;
      const sound =
        kept.answers.length === page.rows.length &&
        kept.answers.every(isAnswer) &&
        kept.past.every(([row, before]) => isRow(row) && isAnswer(before)) &&
        isRow(kept.at);
      return sound ? { ...fresh(), ...kept } : null;
    } catch {
      return null;
    }
  }

  function keep() {
    try {
      localStorage.setItem(page.key, JSON.stringify(state));
      unsaved = false;
    } catch {
      unsaved = true;
    }
    byId("unsaved").hidden = !unsaved;
  }

  // What can be done.

  const labelled = () => state.answers.filter((a) => a !== OPEN && a !== UNSURE).length;
  const answered = () => state.answers.filter((a) => a !== OPEN).length;
  const finished = () => answered() === page.rows.length;
  const called = (a) => (a === OPEN ? "" : a === UNSURE ? "don’t know" : page.classes[a].shown);

  function give(answer) {
    if (overview) return;
    state.past.push([state.at, state.answers[state.at]]);
    state.answers[state.at] = answer;
    const next = after(state.at);
    const told = `${called(answer)}. `;
    if (next === null) {
      finish(told);
    } else {
      state.at = next;
      update(`${told}Example ${next + 1} of ${page.rows.length}.`);
    }
  }

  function after(row) {
    const rows = page.rows.map((_, n) => (row + 1 + n) % page.rows.length);
    return rows.find((n) => state.answers[n] === OPEN) ?? null;
  }

  function finish(told) {
    setOverview(true);
    update(`${told}All examples have an answer.`);
    byId("finished-title").focus();
  }

  function undo() {
    if (!state.past.length) return;
    const [row, before] = state.past.pop();
    state.answers[row] = before;
    const wasOverview = overview;
    setOverview(false);
    state.at = row;
    update(`Undone. Example ${row + 1} of ${page.rows.length}.`);
    if (wasOverview) byId("undo").focus();
  }

  function go(row) {
    if (row < 0 || row >= page.rows.length) return;
    setOverview(false);
    state.at = row;
    const answer = called(state.answers[row]);
    update(`Example ${row + 1} of ${page.rows.length}${answer ? `, answered ${answer}` : ""}.`);
  }

  function setOverview(wanted) {
    overview = wanted;
  }

  function startOver() {
    const dialog = byId("sure");
    dialog.returnValue = "";
    dialog.onclose = () => {
      if (dialog.returnValue !== "forget") return;
      state = { ...fresh(), guesses: state.guesses, keys: state.keys };
      setOverview(false);
      update("All answers are forgotten. Example 1.");
    };
    dialog.showModal();
  }

  // The CSV: as Python's csv module reads it. File names that are no UTF-8 come as lone surrogates, and leave as bytes.

  function csv() {
    const cell = (text) => (/[",\r\n]|^\s|\s$/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
    const rows = page.rows
      .map(([item, guess, sure], n) => [item, state.answers[n], guess, sure])
      .filter(([, answer]) => answer !== OPEN && answer !== UNSURE)
      .map(([item, answer, guess, sure]) => [item, page.classes[answer].name, guess, sure]);
    return [["item", "label", "class", "probability"], ...rows].map((row) => `${row.map(cell).join(",")}\n`).join("");
  }

  function bytes(text) {
    const parts = text.split(/([\udc80-\udcff])/u);
    return parts.map((part, n) => (n % 2 ? Uint8Array.of(part.charCodeAt(0) - 0xdc00) : new TextEncoder().encode(part)));
  }

  function download() {
    const count = labelled();
    if (!count) {
      announce("There is no label yet to download.");
      return;
    }
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob(bytes(csv()), { type: "text/csv" }));
    link.download = page.file;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    announce(`${page.file} with ${count} ${count === 1 ? "label" : "labels"} is downloaded.`);
  }

  // Finding one of many classes by a part of its name, whatever its case and accents.

  const simple = (text) => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase().trim();
  const simpleNames = page.classes.map(({ name }) => simple(name));

  function find() {
    const wanted = search ? simple(search.value) : "";
    const found = simpleNames.map((name, n) => [n, name]).filter(([, name]) => name.includes(wanted));
    const best = wanted
      ? (found.find(([, name]) => name === wanted) ?? found.find(([, name]) => name.startsWith(wanted)) ?? found[0])
      : undefined;
    return { found: found.map(([n]) => n), best: best?.[0] };
  }

  // Classes that are digits have their own keys; others those of their places.

  const digits = page.classes.every(({ name }) => /^[0-9]$/.test(name));
  const unsureKey = digits ? "-" : "0";
  const keyOf = (n, place) => (digits ? page.classes[n].name : place < KEYS ? String(place + 1) : "");

  function drawClasses() {
    const { found, best } = find();
    classButtons.forEach((button, n) => {
      const place = found.indexOf(n);
      button.hidden = place < 0;
      button.firstElementChild.textContent = place < 0 ? "" : keyOf(n, place);
      button.classList.toggle("best", n === best);
      button.setAttribute("aria-pressed", String(state.answers[state.at] === n));
    });
    if (search) byId("no-class").hidden = found.length > 0;
  }

  // What is seen.

  function announce(text) {
    byId("announcer").textContent = text;
  }

  function update(told) {
    if (search && search.value) search.value = "";
    keep();
    draw();
    announce(told);
  }

  function draw() {
    const done = finished();
    const revealed = state.guesses || done;
    document.body.classList.toggle("overview", overview);
    document.body.classList.toggle("guesses", revealed);
    document.body.classList.toggle("keyless", !state.keys);
    examples.forEach((example, n) => {
      const answer = state.answers[n];
      example.hidden = !overview && n !== state.at;
      example.querySelector(".answer bdi").textContent = called(answer);
      const differs = revealed && answer !== OPEN && answer !== UNSURE && page.classes[answer].name !== page.rows[n][1];
      example.classList.toggle("differs", differs);
      example.classList.toggle("open", answer === OPEN);
    });
    mapButtons.forEach((button, n) => {
      const answer = state.answers[n];
      button.className = answer === OPEN ? "" : answer === UNSURE ? "unsure" : "labelled";
      button.lastElementChild.textContent = `Example ${n + 1}: ${called(answer) || "open"}`;
      if (n === state.at && !overview) button.setAttribute("aria-current", "true");
      else button.removeAttribute("aria-current");
    });
    drawClasses();
    byId("unsure").setAttribute("aria-pressed", String(state.answers[state.at] === UNSURE));
    byId("undo").setAttribute("aria-disabled", String(!state.past.length));
    byId("previous").setAttribute("aria-disabled", String(state.at === 0));
    byId("next").setAttribute("aria-disabled", String(state.at === page.rows.length - 1));
    byId("overview").setAttribute("aria-pressed", String(overview));
    byId("guesses").checked = state.guesses;
    byId("keys").checked = state.keys;
    byId("progress").value = answered();
    const [some, unsure] = [labelled(), answered() - labelled()];
    byId("counts").textContent = `${some} of ${page.rows.length} labelled${unsure ? ` · ${unsure} don’t know` : ""}`;
    byId("finished").hidden = !(overview && done);
    byId("finished-title").textContent = `Done: ${some} labelled${unsure ? `, ${unsure} don’t know` : ""}`;
    document.querySelectorAll(".download").forEach((button) => button.setAttribute("aria-disabled", String(!some)));
    document.querySelector("#answers .download").classList.toggle("strong", some > 0);
    document.title = `${answered()}/${page.rows.length} · Which class is it?`;
  }

  // Who does it: the mouse, a finger, the keyboard.

  function pressed(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || byId("sure").open) return;
    if (event.target === search) {
      searched(event);
      return;
    }
    if (!state.keys || event.repeat) return;
    const { found } = find();
    const actions = { Backspace: undo, ArrowLeft: () => go(state.at - 1), ArrowRight: () => go(state.at + 1), [unsureKey]: () => give(UNSURE) };
    const meant = found.find((n, place) => keyOf(n, place) === event.key);
    if (event.key in actions) actions[event.key]();
    else if (meant !== undefined) give(meant);
    else if (search && !overview && /^\p{L}$/u.test(event.key)) {
      search.focus(); // the letter goes there
      return;
    } else return;
    event.preventDefault();
  }

  function searched(event) {
    const { found, best } = find();
    if (event.key === "Enter" && best !== undefined) give(best);
    else if (event.key === "Escape") search.value = "";
    else if (event.key === "ArrowDown" && found.length) classButtons[found[0]].focus();
    else return;
    event.preventDefault();
    drawClasses();
  }

  document.querySelectorAll(".unsure-key").forEach((key) => (key.textContent = unsureKey));
  classButtons.forEach((button, n) => button.addEventListener("click", () => give(n)));
  mapButtons.forEach((button, n) => button.addEventListener("click", () => go(n)));
  examples.forEach((example, n) =>
    example.querySelector(".change").addEventListener("click", () => {
      go(n);
      const chosen = state.answers[n];
      (classButtons[Math.max(chosen ?? 0, 0)] ?? byId("unsure")).focus();
    }),
  );
  document.querySelectorAll(".download").forEach((button) => button.addEventListener("click", download));
  byId("unsure").addEventListener("click", () => give(UNSURE));
  byId("undo").addEventListener("click", undo);
  byId("previous").addEventListener("click", () => go(state.at - 1));
  byId("next").addEventListener("click", () => go(state.at + 1));
  byId("start-over").addEventListener("click", startOver);
  byId("overview").addEventListener("click", () => {
    setOverview(!overview);
    update(overview ? "All examples are shown." : `Example ${state.at + 1} of ${page.rows.length}.`);
  });
  ["guesses", "keys"].forEach((wish) =>
    byId(wish).addEventListener("change", (event) => {
      state[wish] = event.target.checked;
      keep();
      draw();
    }),
  );
  search?.addEventListener("input", drawClasses);
  document.addEventListener("keydown", pressed);
  window.addEventListener("storage", (event) => {
    if (event.key !== page.key) return;
    state = restored() ?? fresh(); // another tab has the same page
    draw();
  });
  window.addEventListener("beforeunload", (event) => {
    if (unsaved && labelled()) event.preventDefault();
  });

  document.body.classList.add("scripted", page.classes.length > KEYS ? "many" : "few");
  if (!document.querySelector(".view img")) document.body.classList.add("wide");
  overview = finished();
  draw();
})();
