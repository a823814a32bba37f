// Tokens live in this object alone: not in the page's URL, not in any storage.
// By container: {value, expires, revoked}.
const tokens = {};

// What each button sends, the status to expect, and what is to be seen in the
// answer. A call wants the token of a container, or none; some want its owner.
const calls = {
  header: {
    method: "POST", path: "/run/demo/notify", token: "demo", by: "header", expected: 200,
    remark: "The recipe knows the caller by the token’s id.",
    otherwise: "Was the token revoked meanwhile, or its key retired? Then mint another.",
  },
  query: {
    method: "GET", path: "/run/demo/notify", token: "demo", by: "query", expected: 200,
    remark: "The “url” is what the recipe saw: the token was cut out before. And no cache may keep the answer.",
    otherwise: "Was the token revoked meanwhile, or its key retired? Then mint another.",
  },
  none: {
    method: "POST", path: "/run/demo/notify", expected: 403,
    remark: "Who is not authenticated gets 403, and learns nothing more.",
  },
  other: {
    method: "POST", path: "/run/demo/notify", token: "other", by: "header", expected: 403,
    remark: "A genuine token, but of another container. Only its holder is told so.",
  },
  public: {
    method: "POST", path: "/run/demo/hello", expected: 200,
    remark: "A public recipe runs for anyone, here for an anonymous caller.",
  },
  revoke: {
    method: "POST", path: "/revoke", token: "demo", by: "form", owner: "demo", expected: 200,
    remark: "The token opens nothing any more: call the private recipe with it. An empty answer is all that RFC 7009 has.",
    otherwise: "Only a container’s owner may revoke. Is this the owner key of this run?",
  },
  revokeAll: {
    method: "POST", path: "/revoke-all/demo", owner: "demo", expected: 204,
    remark: "Every token of demo that was minted up to now opens nothing any more. One that is minted now is good at once.",
    otherwise: "Only a container’s owner may revoke. Is this the owner key of this run?",
  },
};

const shownHeaders = ["Content-Type", "Cache-Control", "Referrer-Policy", "Vary", "WWW-Authenticate", "Retry-After"];

const byId = (id) => document.getElementById(id);

// shorten keeps of a token what tells it from others; its beginning is the same
// for all of one key.
const shorten = (token) => `${token.slice(0, 8)}…${token.slice(-6)}`;

// withoutTokens makes a text safe to be shown, over a shoulder or in a screenshot.
function withoutTokens(text) {
  for (const token of Object.values(tokens)) {
    text = text.replaceAll(token.value, shorten(token.value));
  }
  return text;
}

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

// basic encodes as UTF-8, as curl does; btoa alone stops at Latin-1.
function basic(user, password) {
  const bytes = new TextEncoder().encode(`${user}:${password}`);
  return "Basic " + btoa(String.fromCharCode(...bytes));
}

// asOwner is what of a request says that a container's owner makes it.
function asOwner(container) {
  return {
    headers: { Authorization: basic(container, byId("owner-key").value) },
    shownAs: { Authorization: `Basic ${container}:••••••` },
  };
}

function showStatus(element, status, text) {
  element.textContent = text;
  element.className = "status " + (status >= 200 && status < 300 ? "good" : status === 403 ? "refused" : "bad");
}

// Whoever clicks twice sees the answer to the last click.
let latest = 0;

// exchange sends a request and shows it with its response. request.shownAs
// stands in for headers that must not be seen. The remark is for the expected
// status, otherwise for all else. learn gets the text of a success before
// anything is shown.
async function exchange(request, { expected, remark, otherwise, badge, learn = () => {} }) {
  const turn = ++latest;
  const url = new URL(request.url, location.origin);
  let status = 0, label = "no answer", shown;
  try {
    const response = await fetch(url, {
      method: request.method,
      headers: request.headers,
      body: request.body,
      cache: "no-store",
      credentials: "omit",
      redirect: "error",
      referrerPolicy: "no-referrer",
    });
    const text = await response.text();
    status = response.status;
    label = `${status} ${response.statusText}`.trim();
    if (response.ok) learn(text);
    shown = shownHeaders
      .filter((name) => response.headers.has(name))
      .map((name) => `${name}: ${response.headers.get(name)}`)
      .join("\n") + (text && "\n\n" + pretty(text));
  } catch (error) {
    shown = `The server did not answer: ${error.message}`;
  }
  showStatus(badge, status, status || "none");
  if (turn !== latest) return;

  const headers = Object.entries({ ...request.headers, ...request.shownAs });
  byId("request").textContent = withoutTokens(
    [`${request.method} ${url}`, ...headers.map(([name, value]) => `${name}: ${value}`)].join("\n") +
      (request.body ? `\n\n${request.body}` : ""));
  showStatus(byId("status"), status, label);
  byId("response").textContent = withoutTokens(shown);
  byId("remark").textContent = status === expected ? remark : otherwise ?? `Expected was ${expected}.`;
  byId("hint").hidden = true;
  byId("exchange").hidden = false;
}

// refresh shows which tokens there are, and which calls they make possible.
function refresh() {
  for (const item of document.querySelectorAll(".tokens li")) {
    const token = tokens[item.dataset.container];
    if (!token) continue;
    const until = token.expires.toLocaleDateString(undefined, { dateStyle: "medium" });
    item.querySelector(".token").textContent = `${shorten(token.value)}, ${token.revoked ? "revoked" : `valid until ${until}`}`;
    // Browsers have a clipboard only where the page came safely: https or this machine.
    item.querySelector("button").hidden = !navigator.clipboard;
  }
  for (const button of document.querySelectorAll("[data-call]")) {
    const { token } = calls[button.dataset.call];
    if (!token) continue;
    button.disabled = !tokens[token];
    const item = button.closest("li");
    item.querySelector(".about").hidden = button.disabled;
    item.querySelector(".wants").hidden = !button.disabled;
  }
}

byId("mint").addEventListener("submit", (event) => {
  event.preventDefault();
  const container = event.submitter?.value ?? "demo"; // Enter presses the first button
  exchange({
    method: "POST",
    url: `/create-token/${container}`,
    ...asOwner(container),
  }, {
    badge: byId("minted"),
    expected: 200,
    remark: `This token opens the recipes of ${container} only. The page shows it shortened.`,
    otherwise: "Only a container’s owner may mint. Is this the owner key of this run?",
    learn(text) {
      const minted = JSON.parse(text);
      tokens[container] = { value: minted.token, expires: new Date(Date.now() + minted.expires_in * 1000) };
      refresh();
    },
  });
});

for (const button of document.querySelectorAll("[data-call]")) {
  button.addEventListener("click", () => {
    const call = calls[button.dataset.call];
    const request = { method: call.method, url: call.path, headers: {}, ...(call.owner && asOwner(call.owner)) };
    const token = tokens[call.token]?.value;
    if (call.by === "header") request.headers.Authorization = `Bearer ${token}`;
    if (call.by === "query") request.url += `?token=${encodeURIComponent(token)}`;
    if (call.by === "form") {
      request.headers["Content-Type"] = "application/x-www-form-urlencoded";
      request.body = `token=${encodeURIComponent(token)}`;
    }
    if (call.method === "POST" && !call.owner) {
      request.headers["Content-Type"] = "application/json";
      request.body = byId("data").value;
    }
    const held = tokens[call.owner]; // not one that is minted until the answer comes
    const learn = () => {
      if (!call.owner || !held) return;
      held.revoked = true;
      refresh();
    };
    exchange(request, { ...call, learn, badge: button.closest("li").querySelector(".status") });
  });
}

for (const item of document.querySelectorAll(".tokens li")) {
  const button = item.querySelector("button");
  button.setAttribute("aria-label", `Copy the token of ${item.dataset.container}`);
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(tokens[item.dataset.container].value);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Not allowed";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
}

refresh();
