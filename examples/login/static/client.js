// A session for axios that outlives its access tokens. This code reads neither a clock nor the
// contents of a token: it uses an access token until a call gets 401.
//
// All tabs of a browser share one session, with these items in localStorage:
//
//   session         {mode, turn, id, email}, or {mode, turn, ended} when logged out. The
//                   id changes with every login, and the turn with every change of tokens.
//   access_token    only with mode "storage". With mode "cookie" the browser keeps both
//   refresh_token   tokens, and no script can read them.

const endpoints = { storage: "/auth/jwt/", cookie: "/auth/cookie/" };

// Cookies are the default, since no script can read them. Browsers keep them only over
// HTTPS, or from this machine.
const preferred = isSecureContext ? "cookie" : "storage";

// Ended is thrown when the session has ended. reason says why.
export class Ended extends Error {
  constructor(reason) {
    super(`the session has ended: ${reason}`);
    this.reason = reason;
  }
}

// current returns what the tabs share now. It has an id if a user is logged in.
export function current() {
  let stored = null;
  try {
    stored = JSON.parse(localStorage.getItem("session"));
  } catch {
    // Another script wrote the item. Treat it as no session.
  }
  return { ...stored, mode: stored?.mode in endpoints ? stored.mode : preferred };
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// soon gives up after a second, so that a tab does not keep the lock.
const soon = (promise) => Promise.race([promise, pause(1000)]).catch(() => {});

// random, unlike crypto.randomUUID, needs no secure context.
const random = () => crypto.getRandomValues(new Uint32Array(2)).join("-");

let told; // resolves when other tabs can know of the last turn

function save(session) {
  const turn = random();
  localStorage.setItem("session", JSON.stringify({ ...session, turn }));
  told = soon(lastTurn(turn));
  changed(); // only other tabs get a storage event
}

// upToDate waits until this tab sees what other tabs wrote to localStorage. Browsers may pass
// on a lock earlier than that. IndexedDB has no such delay, and holds the last turn. Without
// it two tabs could refresh, and the server would give both the same token.
async function upToDate() {
  const last = await soon(lastTurn());
  if (!last) return;
  let look;
  await soon(new Promise((resolve) => { // never, if localStorage was cleared
    look = () => { if (current().turn === last) resolve(); };
    addEventListener("storage", look);
    look();
  }));
  removeEventListener("storage", look);
}

let database;

// lastTurn reads the last turn, or writes it.
async function lastTurn(turn) {
  database ??= new Promise((resolve, reject) => {
    const opening = indexedDB.open("session", 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore("last");
    opening.onsuccess = () => resolve(opening.result);
    opening.onerror = () => reject(opening.error);
  });
  const transaction = (await database).transaction("last", turn ? "readwrite" : "readonly");
  const store = transaction.objectStore("last");
  const request = turn ? store.put(turn, "turn") : store.get("turn");
  await new Promise((resolve, reject) => {
    transaction.oncomplete = resolve;
    transaction.onabort = () => reject(transaction.error);
  });
  return request.result;
}

// keep stores the result of a login or a refresh. A 200 that is not from the server, such as
// a hotel's login page, must not replace tokens.
function keep(session, pair) {
  const tokens = [pair?.refresh_token, pair?.access_token];
  if (!(pair?.expires_in > 0) || (session.mode === "storage" && !tokens.every((token) => typeof token === "string"))) {
    throw new Error("the response is not from the server");
  }
  if (session.mode === "storage") {
    localStorage.setItem("refresh_token", pair.refresh_token); // first, since it must not be lost
    localStorage.setItem("access_token", pair.access_token);
  }
  save(session);
}

function forget(session, ended) {
  if (current().id !== session.id) return;
  localStorage.removeItem("access_token");
  localStorage.removeItem("refresh_token");
  save({ mode: session.mode, ended });
}

// held returns a value that changes when a refresh replaces the access token.
const held = (session) => session.mode === "storage" ? localStorage.getItem("access_token") : session.turn;

// alone runs work while neither another tab nor this one logs in, refreshes or logs out. The
// lock of a closed tab is released. Pages over plain HTTP have no locks. Their tabs may
// refresh at the same time, which the server allows.
let queue = Promise.resolve();
const lock = (work) => navigator.locks
  ? navigator.locks.request("session", work)
  : (queue = queue.catch(() => {}).then(work));
const alone = (work) => lock(async () => {
  await upToDate();
  try {
    return await work();
  } finally {
    await told;
  }
});

const plain = axios.create({ timeout: 5000 });

// api is axios with the current session, for calls. It sends tokens only to this origin.
export const api = axios.create({ timeout: 5000, baseURL: location.origin, allowAbsoluteUrls: false });

for (const instance of [plain, api]) {
  instance.interceptors.response.use(
    (response) => {
      report(response.config, response);
      return response;
    },
    (error) => {
      if (error.config) report(error.config, error.response, error.code);
      throw error;
    });
}

api.interceptors.request.use((config) => {
  const now = current();
  // Never repeat a call as another user.
  if (!now.id || (config.sent && config.sent.id !== now.id)) throw new Ended(now.ended ?? "changed");
  config.sent = { id: now.id, held: held(now) };
  config.headers.delete("Authorization");
  if (now.mode === "storage") config.headers.set("Authorization", `Bearer ${config.sent.held}`);
  return config;
});

// A call that gets 401 is repeated: once if another call or tab has refreshed the token in the
// meantime, and once after this call has refreshed it.
api.interceptors.response.use(undefined, async (error) => {
  const { config, response } = error;
  if (response?.status !== 401 || config.refreshed) throw error;
  const adopted = await alone(() => renew(config));
  return api({ ...config, adopted, refreshed: !adopted });
});

let refreshedHere;

// renew must run inside alone. It returns true if another tab or call has refreshed since this
// call was sent, so that no refresh is needed.
async function renew({ sent, adopted }) {
  const now = current();
  if (now.id !== sent.id) throw new Ended(now.ended ?? "changed");
  if (!adopted && held(now) !== sent.held) {
    note(now.turn === refreshedHere ? "already refreshed: repeated with the new token" : "another tab has refreshed: repeated with its token");
    return true;
  }
  let answer;
  try {
    answer = await patiently(() => plain.post(`${endpoints[now.mode]}refresh/`, credentials(now)));
  } catch (error) {
    // Only a 401 ends the session. After any other error the tokens may still be good.
    if (error.response?.status !== 401) throw error;
    const reason = reasonOf(error);
    forget(now, reason);
    throw new Ended(reason);
  }
  if (current().id !== now.id) throw new Ended("changed");
  keep(now, answer.data);
  refreshedHere = current().turn;
  return false;
}

// credentials returns the part of a body that identifies the session. With cookies it is empty.
const credentials = (session) => session.mode === "storage" ? { refresh_token: localStorage.getItem("refresh_token") } : {};

// patiently tries again once after a second. If only the response was lost, the server sends
// the same tokens again.
async function patiently(send) {
  try {
    return await send();
  } catch (error) {
    if (error.response?.status < 500) throw error;
    await pause(1000);
    return send();
  }
}

const reasonOf = (error) => error.response.data?.reason ?? error.response.data?.code ?? "unknown";

export const login = (mode, email, password) => alone(async () => {
  if (current().id) return; // another tab has logged in
  const answer = await plain.post(`${endpoints[mode]}create/`, { email, password });
  keep({ mode, id: random(), email }, answer.data);
});

// logout ends this session, with {everywhere: true} all sessions of the user, and with
// {session_id} another one. It uses the refresh token, so it needs no refresh before.
export const logout = (which = {}) => alone(async () => {
  const now = current();
  if (!now.id) return;
  try {
    await plain.post(`${endpoints[now.mode]}logout/`, { ...credentials(now), ...which });
  } catch (error) {
    if (error.response?.status !== 401) throw error;
    forget(now, reasonOf(error));
    throw new Ended(reasonOf(error));
  }
  if (!which.session_id) forget(now, which.everywhere ? "everywhere" : "logout");
});

export const sessions = async () => (await api.get(`${endpoints[current().mode]}sessions/`)).data.sessions;

// choose sets where the next login keeps its tokens.
export const choose = (mode) => alone(async () => {
  const now = current();
  if (!now.id) save({ ...now, mode });
});

let changed = () => {};
let note = () => {};
let report = () => {};

// watch registers callbacks for changes of the session in any tab, for each request, and for
// notes. They get no tokens.
export function watch(callbacks) {
  changed = callbacks.changed;
  note = callbacks.note;
  report = (config, response, code) => callbacks.request({
    method: config.method.toUpperCase(),
    path: new URL(config.url, location.origin).pathname,
    status: response?.status ?? 0,
    reason: response?.data?.reason ?? (response?.status >= 400 && response.data?.code) ?? "",
    code,
  });
  addEventListener("storage", (event) => {
    if (event.key === "session" || event.key === null) changed();
  });
  addEventListener("pageshow", (event) => {
    if (event.persisted) changed(); // a page in the back/forward cache gets no events
  });
}
