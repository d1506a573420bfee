// Keeps the shown page up to date. Every page works without this file: it only replaces elements that carry `data-live`
// by the same elements of a newer rendering, when an event of the stream concerns them.
"use strict";

(() => {
  const skew = Date.now() - Number(document.body.dataset.now || Date.now());
  const WAIT_MS = 120; // events come in bursts: one rendering for all of them
  const wanted = new Map(); // address -> ids of elements to be replaced
  let timer = 0;

  // Running times, in the words of the server's `duration`.
  function words(ms) {
    const secs = Math.max(0, Math.floor(ms / 1000));
    const two = (n) => String(n).padStart(2, "0");
    const [d, h, m, s] = [Math.floor(secs / 86400), Math.floor(secs / 3600) % 24, Math.floor(secs / 60) % 60, secs % 60];
    if (d) return `${d} d ${h} h`;
    if (h) return `${h} h ${two(m)} min`;
    if (m) return `${m} min ${two(s)} s`;
    return `${s} s`;
  }

  function tick() {
    const now = Date.now() - skew;
    for (const el of document.querySelectorAll("[data-since]")) {
      const text = words(now - Number(el.dataset.since));
      if (el.textContent !== text) el.textContent = text;
    }
  }

  // A form that is being filled in is left alone.
  function isBusy(el) {
    const at = document.activeElement;
    if (at && el.contains(at) && at.matches("input, textarea, select")) return true;
    const changed = (f) => f.value !== f.defaultValue || f.checked !== f.defaultChecked;
    return [...el.querySelectorAll("input:not([type=hidden]), textarea")].some(changed);
  }

  function replace(old, fresh) {
    if (old.isEqualNode(fresh) || isBusy(old)) return;
    const logs = [old, ...old.querySelectorAll("[data-follow]")].filter((el) => el.hasAttribute("data-follow"));
    const places = logs.map((el) => [el.id, el.scrollTop, el.scrollTop + el.clientHeight >= el.scrollHeight - 40]);
    const focused = old === document.activeElement;
    const next = document.importNode(fresh, true);
    for (const open of old.querySelectorAll("details[open]")) {
      const same = [...old.querySelectorAll("details")].indexOf(open);
      next.querySelectorAll("details")[same]?.setAttribute("open", "");
    }
    old.replaceWith(next);
    for (const [id, top, follows] of places) {
      const log = document.getElementById(id);
      if (log) log.scrollTop = follows ? log.scrollHeight : top;
    }
    if (focused) next.focus({ preventScroll: true });
    arrange(next);
  }

  // Fields that count only when another has certain values: hidden while they do not.
  function arrangeForm(form) {
    const shown = new Map(); // name -> whether the field itself is shown
    for (const field of form.querySelectorAll(".field")) {
      const named = field.querySelector("[name]")?.name;
      const { when, values } = field.dataset;
      let yes = true;
      if (when) {
        const others = [...form.querySelectorAll(`[name="${CSS.escape(when)}"]`)];
        const box = others.find((o) => o.type === "checkbox");
        const value = box ? String(box.checked) : (others[0]?.value ?? "");
        yes = shown.get(when) !== false && (!others.length || JSON.parse(values).includes(value));
        for (const note of field.querySelectorAll(".when")) note.hidden = true;
      }
      if (named) shown.set(named, yes);
      field.hidden = !yes;
    }
  }

  // Lines of a log without the words that are being typed.
  function filter(input) {
    const words = input.value.trim().toLowerCase();
    for (const line of document.querySelectorAll(`#${CSS.escape(input.dataset.filter)} li`)) {
      line.hidden = Boolean(words) && !line.querySelector(".text").textContent.toLowerCase().includes(words);
    }
  }

  function arrange(root) {
    for (const form of root.querySelectorAll("form.wizard")) arrangeForm(form);
    for (const input of document.querySelectorAll("[data-filter]")) if (input.value) filter(input);
  }

  addEventListener("input", (event) => {
    const form = event.target.closest?.("form.wizard");
    if (form) arrangeForm(form);
    if (event.target.matches?.("[data-filter]")) filter(event.target);
  });

  async function refresh() {
    timer = 0;
    const work = [...wanted];
    wanted.clear();
    await Promise.all(work.map(async ([address, ids]) => {
      try {
        const answer = await fetch(address, { headers: { accept: "text/html" }, cache: "no-store" });
        if (answer.status === 401 || answer.redirected) return location.reload();
        if (!answer.ok) return undefined;
        const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
        for (const id of ids) {
          const [old, next] = [document.getElementById(id), fresh.getElementById(id)];
          if (old && next) replace(old, next);
        }
      } catch {
        // The appliance cannot be reached: the stream says so, and everything is read again when it is back.
      }
      return undefined;
    }));
    tick();
  }

  function ask(el) {
    const address = el.dataset.src || location.href.split("#")[0];
    if (!wanted.has(address)) wanted.set(address, new Set());
    wanted.get(address).add(el.id);
    if (!timer) timer = setTimeout(refresh, WAIT_MS);
  }

  function heard(event) {
    const about = new Set([`type:${event.type}`]);
    if (event.host) about.add(`host:${event.host}`);
    if (event.job) about.add(`job:${event.job}`);
    if (event.guest) about.add(`guest:${event.guest}`);
    for (const el of document.querySelectorAll("[data-live]")) {
      if ((el.dataset.on || "").split(" ").some((word) => about.has(word))) ask(el);
    }
  }

  function listen(address) {
    const link = document.getElementById("link");
    const say = (live) => {
      document.documentElement.dataset.live = live ? "yes" : "no";
      if (!link) return;
      link.className = live ? "link live" : "link lost";
      link.textContent = live ? "Live" : "Reconnecting";
    };
    let wasLost = false;
    const stream = new EventSource(address);
    stream.onopen = () => {
      say(true);
      if (wasLost) document.querySelectorAll("[data-live]").forEach(ask);
      wasLost = false;
    };
    stream.onerror = () => {
      say(false);
      wasLost = true;
      // Refused for good (log-in over, too many streams): try again as a new stream, not at once.
      if (stream.readyState === EventSource.CLOSED) setTimeout(() => listen(address), 5000);
    };
    stream.onmessage = (message) => heard(JSON.parse(message.data));
    addEventListener("pagehide", () => stream.close());
  }

  // Cells are many: arrows go from one to the next, also up and down.
  addEventListener("keydown", (event) => {
    const cell = event.target.closest?.("[data-arrows] a");
    if (!cell || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    const all = [...document.querySelectorAll("[data-arrows] a")];
    const at = all.indexOf(cell);
    const { left, top } = cell.getBoundingClientRect();
    const line = (side) => all.filter((c) => side * (c.getBoundingClientRect().top - top) > 4);
    const nearest = (cells, side) => {
      const tops = cells.map((c) => c.getBoundingClientRect().top);
      const next = side > 0 ? Math.min(...tops) : Math.max(...tops);
      const away = (c) => Math.abs(c.getBoundingClientRect().left - left);
      return cells.filter((_, n) => Math.abs(tops[n] - next) < 4).sort((a, b) => away(a) - away(b))[0];
    };
    const to = {
      ArrowLeft: () => all[at - 1], ArrowRight: () => all[at + 1], Home: () => all[0], End: () => all[all.length - 1],
      ArrowDown: () => nearest(line(1), 1), ArrowUp: () => nearest(line(-1), -1),
    }[event.key]?.();
    if (!to) return;
    event.preventDefault();
    to.focus();
  });

  arrange(document);
  for (const el of document.querySelectorAll("[data-follow]")) el.scrollTop = el.scrollHeight;
  // What takes a question to the cluster comes after the page; it, and what changes with time alone, again every so often
  // while somebody looks.
  for (const { id, dataset } of document.querySelectorAll("[data-lazy], [data-every]")) {
    const again = () => {
      const el = document.getElementById(id);
      if (el && !document.hidden) ask(el);
    };
    if ("lazy" in dataset) again();
    if (dataset.every) setInterval(again, Number(dataset.every) * 1000);
  }
  tick();
  setInterval(tick, 1000);
  if (document.body.dataset.events) listen(document.body.dataset.events);
})();
