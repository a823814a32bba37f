import { api, choose, current, Ended, login, logout, sessions, watch } from "./client.js";

const byId = (id) => document.getElementById(id);

const modes = { storage: "Tokens in localStorage", cookie: "Tokens in cookies" };

const endings = {
  logout: "You logged out.",
  everywhere: "You logged out everywhere.",
  reused: "An old token of your session was used, perhaps a stolen copy. So the session was ended. Please log in again.",
  revoked: "This session was ended, perhaps on another device. Please log in again.",
  expired: "This session has expired. Please log in again.",
  not_authenticated: "This browser no longer has a token. Please log in again.",
  changed: "Another tab logged out or in, so this call was not repeated.",
};

function explain(error) {
  if (error instanceof Ended) return endings[error.reason] ?? "The server no longer knows this session. Please log in again.";
  const status = error.response?.status;
  const kept = current().id ? "You are still logged in: please try again" : "Please try again";
  if (error.response?.data?.code === "credentials_not_valid") return "The e-mail address or the password is wrong. After ten wrong passwords, wait a minute.";
  if (status === 503) {
    const after = Number(error.response.headers["retry-after"]);
    return `The server is temporarily unavailable (503). ${kept}${after > 0 ? ` in ${after} s` : ""}.`;
  }
  if (error.code === "ECONNABORTED" || error.code === "ETIMEDOUT") return `The server took too long to respond. ${kept}.`;
  if (status) return `The server responded with ${status} ${error.response.data?.code ?? ""}`.trim() + ". " + kept + ".";
  if (error.isAxiosError) return `The server did not respond. ${kept}.`;
  return `${error.message}. ${kept}.`;
}

function say(text, kind = "") {
  byId("message").textContent = text;
  byId("message").className = `message ${kind}`;
}

// attempt runs work after a click. It marks the button as busy meanwhile, and shows an error.
async function attempt(button, work) {
  button.setAttribute("aria-busy", "true");
  try {
    say("");
    await work();
  } catch (error) {
    say(explain(error), error instanceof Ended ? "refused" : "bad");
  } finally {
    button.removeAttribute("aria-busy");
  }
}

let shown; // the ID of the login that is shown

// render shows the session that all tabs share.
function render() {
  const now = current();
  const { body } = document;
  byId("login").hidden = Boolean(now.id);
  byId("account").hidden = !now.id;
  body.dataset.state = now.id ? "in" : "out";
  body.dataset.mode = now.mode;
  byId(`mode-${now.mode}`).checked = true;
  if (now.id === shown && now.id) return; // only the tokens have changed
  byId("sessions").replaceChildren();
  byId("output").textContent = "";
  showStatus(byId("call-status"), "");
  if (now.id) {
    byId("who").textContent = now.email;
    byId("mode").textContent = modes[now.mode];
    say("");
    list();
  } else if (now.ended) {
    say(explain(new Ended(now.ended)), now.ended === "logout" || now.ended === "everywhere" ? "" : "refused");
  }
  // The focused element may be hidden now, so move the focus, but only in the tab that has it.
  if (shown !== undefined && document.hasFocus()) byId(now.id ? "call-button" : "password").focus();
  shown = now.id ?? "";
}

function showStatus(element, status) {
  element.textContent = status;
  element.className = "status " + (status >= 200 && status < 300 ? "good" : status === 401 ? "refused" : "bad");
}

let calls = 0;

async function call() {
  const turn = ++calls; // of several calls at once, only the last one shows its response
  const show = (status, text) => {
    if (turn !== calls || !current().id) return;
    showStatus(byId("call-status"), status);
    byId("output").textContent = text;
  };
  try {
    const { status, data } = await api.get("/api/me");
    show(status, JSON.stringify(data, null, 2));
  } catch (error) {
    show(error.response?.status ?? "none", explain(error));
    throw error;
  }
}

const when = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  Object.assign(made, properties);
  made.append(...children);
  return made;
}

const time = (text) => element("time", { dateTime: text }, when.format(new Date(text)));

// device returns a short name for the User-Agent in a session's label. Most browsers also
// name other browsers there, so the order of the patterns matters.
function device(label) {
  const browser = [[/Edg\//, "Edge"], [/OPR\//, "Opera"], [/Firefox\//, "Firefox"], [/Chrom(e|ium)\//, "Chrome"], [/Safari\//, "Safari"], [/^curl\//, "curl"]]
    .find(([pattern]) => pattern.test(label))?.[1];
  const system = [[/Android/, "Android"], [/iPhone|iPad/, "iOS"], [/Windows/, "Windows"], [/Mac OS/, "macOS"], [/Linux/, "Linux"]]
    .find(([pattern]) => pattern.test(label))?.[1];
  return browser ? browser + (system ? ` on ${system}` : "") : label.slice(0, 60) || "unknown device";
}

async function list() {
  const all = await sessions().catch((error) => {
    if (!(error instanceof Ended)) say(explain(error), "bad");
  });
  if (!all || !current().id) return;
  byId("sessions").replaceChildren(...all.map((session) => {
    const name = device(session.label);
    const row = element("li", {},
      element("div", {},
        element("strong", { title: session.label }, name),
        session.current ? element("span", { className: "here" }, "this one") : "",
        element("p", {}, "Created ", time(session.created), element("br"), "Last used ", time(session.last_used))));
    row.dataset.sessionId = session.id;
    row.dataset.current = session.current;
    if (!session.current) {
      const button = element("button", { type: "button", className: "small" }, "End");
      button.dataset.test = "end-session";
      button.setAttribute("aria-label", `End the session of ${name}`);
      button.addEventListener("click", () => attempt(button, async () => {
        await logout({ session_id: session.id });
        await list();
        byId("sessions-button").focus();
      }));
      row.append(button);
    }
    return row;
  }));
}

// write appends a line to the log, and drops the oldest after 200. It scrolls down only if the
// log was scrolled to its end before.
function write(line) {
  const log = byId("log");
  const below = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
  log.append(line);
  if (log.children.length > 200) log.firstElementChild.remove();
  byId("log-empty").hidden = true;
  if (below) log.scrollTop = log.scrollHeight;
}

byId("login-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const mode = byId("mode-cookie").checked ? "cookie" : "storage";
  attempt(byId("login-button"), async () => {
    await login(mode, byId("email").value, byId("password").value);
    byId("password").value = "";
  });
});
for (const mode of Object.keys(modes)) {
  byId(`mode-${mode}`).addEventListener("change", () => choose(mode));
}
byId("call-button").addEventListener("click", ({ currentTarget }) => attempt(currentTarget, call));
byId("call-five-button").addEventListener("click", ({ currentTarget }) => attempt(currentTarget, () => Promise.all([1, 2, 3, 4, 5].map(call))));
byId("sessions-button").addEventListener("click", ({ currentTarget }) => attempt(currentTarget, list));
byId("logout-button").addEventListener("click", ({ currentTarget }) => attempt(currentTarget, () => logout()));
byId("logout-all-button").addEventListener("click", ({ currentTarget }) => attempt(currentTarget, () => logout({ everywhere: true })));
byId("clear-log-button").addEventListener("click", () => {
  byId("log").replaceChildren();
  byId("log-empty").hidden = false;
});

watch({
  changed: render,
  note: (text) => write(element("li", { className: "note" }, text)),
  request({ method, path, status, reason, code }) {
    const badge = element("span");
    showStatus(badge, status || "none");
    const line = element("li", {}, element("span", { className: "path" }, `${method} ${path}`), " ", badge, reason || code ? ` ${reason || code}` : "");
    Object.assign(line.dataset, { method, path, status, reason: reason || "" });
    write(line);
  },
});
if (!isSecureContext) {
  byId("mode-cookie").disabled = true;
  byId("mode-cookie-about").textContent = "Not available here: browsers accept these cookies only over HTTPS or from localhost.";
  if (current().mode === "cookie") choose("storage");
}
render();
