// tokens maps a container to its token: {value, expires, revoked}. The page keeps tokens only
// here, and neither in its URL nor in any storage.
const tokens = {};

// calls describes what each button sends, the expected status, and a remark about the response.
// token names the container whose token the call needs, and owner the container whose owner
// must send it.
const calls = {
  header: {
    method: "POST", path: "/run/demo/notify", token: "demo", by: "header", expected: 200,
    remark: "The recipe identifies the caller by the ID of the token.",
    otherwise: "Was the token revoked, or its key retired? Then create another one.",
  },
  query: {
    method: "GET", path: "/run/demo/notify", token: "demo", by: "query", expected: 200,
    remark: "The “url” is the address that the recipe saw. The token was removed from it. No cache may keep the response.",
    otherwise: "Was the token revoked, or its key retired? Then create another one.",
  },
  none: {
    method: "POST", path: "/run/demo/notify", expected: 403,
    remark: "A client without a token gets 403, and learns nothing more.",
  },
  other: {
    method: "POST", path: "/run/demo/notify", token: "other", by: "header", expected: 403,
    remark: "The token is authentic, but opens another container. The response gives a reason only for an authentic token.",
  },
  public: {
    method: "POST", path: "/run/demo/hello", expected: 200,
    remark: "A public recipe runs for every caller, here for an anonymous one.",
  },
  revoke: {
    method: "POST", path: "/revoke", token: "demo", by: "form", owner: "demo", expected: 200,
    remark: "The token no longer works. Call the private recipe with it to see this. By RFC 7009 the response has a status and no body.",
    otherwise: "Only a container’s owner can revoke. Is this the owner key of this run?",
  },
  revokeAll: {
    method: "POST", path: "/revoke-all/demo", owner: "demo", expected: 204,
    remark: "All tokens created for demo so far are now rejected. A token that you create now works at once.",
    otherwise: "Only a container’s owner can revoke. Is this the owner key of this run?",
  },
};

const shownHeaders = ["Content-Type", "Cache-Control", "Referrer-Policy", "Vary", "WWW-Authenticate", "Retry-After"];

const byId = (id) => document.getElementById(id);

// shorten returns the start and the end of a token. They reveal little: the start is the same for
// all tokens of a key, and the end is a small part of the signature.
const shorten = (token) => `${token.slice(0, 8)}…${token.slice(-6)}`;

// withoutTokens returns the text with its tokens shortened, so that it can be shown.
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

// basic returns the Authorization header of a user. It encodes UTF-8, as curl does, since btoa
// supports only Latin-1.
function basic(user, password) {
  const bytes = new TextEncoder().encode(`${user}:${password}`);
  return "Basic " + btoa(String.fromCharCode(...bytes));
}

// asOwner returns the headers of a request by a container's owner.
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

// After several clicks, the page shows the response to the last one.
let latest = 0;

// exchange sends a request, and shows the request and the response. request.shownAs replaces
// headers that must not be shown. Below the response it shows remark if the status is the
// expected one, and otherwise if not. After a success it first calls learn with the body.
async function exchange(request, { expected, remark, otherwise, badge, learn = () => {} }) {
  const turn = ++latest;
  const url = new URL(request.url, location.origin);
  let status = 0, label = "no response", shown;
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
    shown = `The server did not respond: ${error.message}`;
  }
  showStatus(badge, status, status || "none");
  if (turn !== latest) return;

  const headers = Object.entries({ ...request.headers, ...request.shownAs });
  byId("request").textContent = withoutTokens(
    [`${request.method} ${url}`, ...headers.map(([name, value]) => `${name}: ${value}`)].join("\n") +
      (request.body ? `\n\n${request.body}` : ""));
  showStatus(byId("status"), status, label);
  byId("response").textContent = withoutTokens(shown);
  byId("remark").textContent = status === expected ? remark : otherwise ?? `The expected status is ${expected}.`;
  byId("hint").hidden = true;
  byId("exchange").hidden = false;
}

// refresh shows the tokens, and enables the calls that are possible with them.
function refresh() {
  for (const item of document.querySelectorAll(".tokens li")) {
    const token = tokens[item.dataset.container];
    if (!token) continue;
    const until = token.expires.toLocaleDateString(undefined, { dateStyle: "medium" });
    item.querySelector(".token").textContent = `${shorten(token.value)}, ${token.revoked ? "revoked" : `valid until ${until}`}`;
    // Browsers offer a clipboard only to pages over HTTPS or from localhost.
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
  const container = event.submitter?.value ?? "demo"; // like the first button, if there is no submitter
  exchange({
    method: "POST",
    url: `/create-token/${container}`,
    ...asOwner(container),
  }, {
    badge: byId("minted"),
    expected: 200,
    remark: `This token opens only the recipes of ${container}. The page shows it shortened.`,
    otherwise: "Only a container’s owner can create tokens. Is this the owner key of this run?",
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
    const held = tokens[call.owner]; // the token at the time of the request, since a new one stays valid
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
