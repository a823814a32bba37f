// A session for axios that lasts longer than one access token. This code reads neither a clock
// nor the contents of a token. It uses an access token until a call gets 401, and then
// refreshes it.
//
// All tabs of a browser share one session, in these items of localStorage:
//
//   session         {mode, turn, id, email}, or {mode, turn, ended} when logged out. Every
//                   login sets a new id. Every write of this item sets a new turn, such as
//                   the one after a refresh.
//   access_token    exist only with mode "storage". With mode "cookie" the browser keeps
//   refresh_token   both tokens in cookies that no script can read.

const endpoints = { storage: "/auth/jwt/", cookie: "/auth/cookie/" };

// preferred is the mode of a user who has not chosen one. Cookies are safer, since no script
// can read them. Browsers accept these cookies only over HTTPS or from localhost.
const preferred = isSecureContext ? "cookie" : "storage";

// Ended is the error of a call whose session has ended, or was replaced by another login.
// reason says which.
export class Ended extends Error {
  constructor(reason) {
    super(`the session has ended: ${reason}`);
    this.reason = reason;
  }
}

// current returns the session item that the tabs share. It has an id if a user is logged in.
export function current() {
  let stored = null;
  try {
    stored = JSON.parse(localStorage.getItem("session"));
  } catch {
    // The item is not JSON, so another script wrote it. Treat it as no session.
  }
  return { ...stored, mode: stored?.mode in endpoints ? stored.mode : preferred };
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// soon waits for a promise, but for a second at most, so that a tab does not keep the lock. It
// ignores errors.
const soon = (promise) => Promise.race([promise, pause(1000)]).catch(() => {});

// random returns a random string. Unlike crypto.randomUUID, it also works over plain HTTP.
const random = () => crypto.getRandomValues(new Uint32Array(2)).join("-");

let told; // resolves when the last turn is in IndexedDB, where other tabs find it

function save(session) {
  const turn = random();
  localStorage.setItem("session", JSON.stringify({ ...session, turn }));
  told = soon(lastTurn(turn));
  changed(); // the browser sends a storage event to the other tabs only
}

// upToDate waits until this tab sees what other tabs wrote to localStorage. A browser may give
// this tab the lock before that. IndexedDB has no such delay, so save also writes the turn
// there. Without this wait a tab could refresh with the old token right after another tab did.
// The server would then return the same tokens again.
async function upToDate() {
  const last = await soon(lastTurn());
  if (!last) return;
  let look;
  await soon(new Promise((resolve) => { // never resolves if localStorage was cleared
    look = () => { if (current().turn === last) resolve(); };
    addEventListener("storage", look);
    look();
  }));
  removeEventListener("storage", look);
}

let database;

// lastTurn writes the turn to IndexedDB. Without an argument it returns the stored turn.
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

// keep stores the result of a login or a refresh. It throws if a 200 is not from the server,
// such as the login page of a hotel's network, and leaves the tokens as they are.
function keep(session, pair) {
  const tokens = [pair?.refresh_token, pair?.access_token];
  if (!(pair?.expires_in > 0) || (session.mode === "storage" && !tokens.every((token) => typeof token === "string"))) {
    throw new Error("the response is not from the server");
  }
  if (session.mode === "storage") {
    localStorage.setItem("refresh_token", pair.refresh_token); // first, since without it the session is lost
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

// held returns a value that changes with every refresh. With cookies that is the turn, since
// the access token cannot be read.
const held = (session) => session.mode === "storage" ? localStorage.getItem("access_token") : session.turn;

// alone runs work, such as a login, a refresh or a logout, while no other tab or call runs any.
// If a tab is closed, the browser releases its lock. Pages over plain HTTP have no locks between
// tabs. Their tabs may refresh at the same time, which the server allows.
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

// api is axios for calls that need the session. It sends tokens only to this origin.
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
  // If another user has logged in since the call was first sent, do not repeat it.
  if (!now.id || (config.sent && config.sent.id !== now.id)) throw new Ended(now.ended ?? "changed");
  config.sent = { id: now.id, held: held(now) };
  config.headers.delete("Authorization");
  if (now.mode === "storage") config.headers.set("Authorization", `Bearer ${config.sent.held}`);
  return config;
});

// A call that gets 401 is repeated at most twice: once if another call or tab has refreshed
// the token in the meantime, and once after this call has refreshed it.
api.interceptors.response.use(undefined, async (error) => {
  const { config, response } = error;
  if (response?.status !== 401 || config.refreshed) throw error;
  const adopted = await alone(() => renew(config));
  return api({ ...config, adopted, refreshed: !adopted });
});

let refreshedHere;

// renew refreshes the tokens and returns false. If another tab or call has refreshed since
// this call was sent, renew does nothing and returns true. It must run inside alone.
async function renew({ sent, adopted }) {
  const now = current();
  if (now.id !== sent.id) throw new Ended(now.ended ?? "changed");
  if (!adopted && held(now) !== sent.held) {
    note(now.turn === refreshedHere ? "another call has refreshed: repeated with the new token" : "another tab has refreshed: repeated with the new token");
    return true;
  }
  let answer;
  try {
    answer = await patiently(() => plain.post(`${endpoints[now.mode]}refresh/`, credentials(now)));
  } catch (error) {
    // Only a 401 ends the session. After any other error the tokens may still be valid.
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

// credentials returns the part of a request's body that identifies the session. With cookies it
// is empty.
const credentials = (session) => session.mode === "storage" ? { refresh_token: localStorage.getItem("refresh_token") } : {};

// patiently calls send, and after a network error or a 5xx calls it once more a second later.
// If only the first response was lost, the server sends the same tokens again.
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

// logout ends this session. With {everywhere: true} it ends all sessions of the user, and with
// {session_id} only the session with that ID. It sends the refresh token, so it also works
// with an expired access token.
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

// choose sets the mode of the next login, in all tabs.
export const choose = (mode) => alone(async () => {
  const now = current();
  if (!now.id) save({ ...now, mode });
});

let changed = () => {};
let note = () => {};
let report = () => {};

// watch registers three callbacks, which get no tokens: changed, when the session changes in
// any tab; request, after each request; and note, with a sentence for the log.
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
    if (event.persisted) changed(); // a page in the back/forward cache missed the storage events
  });
}
