// A session for axios that outlives its access tokens. It looks at no clock and into no
// token: an access token is good until a call is answered with 401.
//
// All tabs of a browser have one session, and share in localStorage
//
//   session         {mode, turn, id, email}, or {mode, turn, ended} when logged out. The
//                   id is new with every login, the turn with every change of tokens.
//   access_token    with mode "storage" alone; with mode "cookie" the browser keeps both,
//   refresh_token   and no script can read them

const endpoints = { storage: "/auth/jwt/", cookie: "/auth/cookie/" };

// Ended says that this session is no more, and why.
export class Ended extends Error {
  constructor(reason) {
    super(`the session has ended: ${reason}`);
    this.reason = reason;
  }
}

// current is what the tabs share now; it has an id if somebody is logged in.
export function current() {
  let stored = null;
  try {
    stored = JSON.parse(localStorage.getItem("session"));
  } catch {
    // As if there were none: somebody else wrote it.
  }
  return { ...stored, mode: stored?.mode === "cookie" ? "cookie" : "storage" };
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// soon gives up after a second: whoever has the lock must not keep it.
const soon = (promise) => Promise.race([promise, pause(1000)]).catch(() => {});

// random needs no secure context, as crypto.randomUUID does.
const random = () => crypto.getRandomValues(new Uint32Array(2)).join("-");

let told; // when other tabs can know of the last turn

function save(session) {
  const turn = random();
  localStorage.setItem("session", JSON.stringify({ ...session, turn }));
  told = soon(lastTurn(turn));
  changed(); // a storage event is for the other tabs alone
}

// Browsers show a tab a little later what another wrote to localStorage, and hand on a
// lock before. IndexedDB has no such delay, and tells whether there is more to come.
// Without it two tabs could refresh, and the server would give both the same.
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

// keep stores what a login or a refresh gave. A 200 of something between, such as the
// page of a hotel's network, must not replace tokens.
function keep(session, pair) {
  const tokens = [pair?.refresh_token, pair?.access_token];
  if (!(pair?.expires_in > 0) || (session.mode === "storage" && !tokens.every((token) => typeof token === "string"))) {
    throw new Error("the answer is not that of the server");
  }
  if (session.mode === "storage") {
    localStorage.setItem("refresh_token", pair.refresh_token); // first: it is the one not to lose
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

// held tells what a call is sent with from what a refresh puts in its place.
const held = (session) => session.mode === "storage" ? localStorage.getItem("access_token") : session.turn;

// alone runs work while no other tab, and nothing else here, logs in, refreshes or logs
// out. A lock of a tab that is closed is free again. Pages that came by plain HTTP have
// no locks: then tabs refresh at once, which the server allows for.
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

// api is for calls: axios with the session of now. It sends tokens to this origin alone.
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
  // Never repeat the call of one user as another.
  if (!now.id || (config.sent && config.sent.id !== now.id)) throw new Ended(now.ended ?? "changed");
  config.sent = { id: now.id, held: held(now) };
  config.headers.delete("Authorization");
  if (now.mode === "storage") config.headers.set("Authorization", `Bearer ${config.sent.held}`);
  return config;
});

// A call that is answered with 401 is repeated: once with what was refreshed meanwhile,
// if so, and once after a refresh of its own.
api.interceptors.response.use(undefined, async (error) => {
  const { config, response } = error;
  if (response?.status !== 401 || config.refreshed) throw error;
  const adopted = await alone(() => renew(config));
  return api({ ...config, adopted, refreshed: !adopted });
});

let refreshedHere;

// renew wants to be alone. It says whether somebody else has refreshed since the call was
// sent: whoever waited for the lock behind a refresh needs none.
async function renew({ sent, adopted }) {
  const now = current();
  if (now.id !== sent.id) throw new Ended(now.ended ?? "changed");
  if (!adopted && held(now) !== sent.held) {
    note(now.turn === refreshedHere ? "refreshed meanwhile: repeated with the new token" : "another tab has refreshed: repeated with its token");
    return true;
  }
  let answer;
  try {
    answer = await patiently(() => plain.post(`${endpoints[now.mode]}refresh/`, credentials(now)));
  } catch (error) {
    // 401 alone ends a session: after all else the tokens may be as good as before.
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

// credentials are what a body has of a session: with cookies nothing.
const credentials = (session) => session.mode === "storage" ? { refresh_token: localStorage.getItem("refresh_token") } : {};

// patiently asks again, once and soon: if only the answer was lost, the server gives it
// again.
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
  if (current().id) return; // in another tab, meanwhile
  const answer = await plain.post(`${endpoints[mode]}create/`, { email, password });
  keep({ mode, id: random(), email }, answer.data);
});

// logout ends this session, with {everywhere: true} all of this user, and with
// {session_id} another one. It goes by the refresh token, so it needs no refresh before.
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

// choose says where the next login keeps its tokens.
export const choose = (mode) => alone(async () => {
  const now = current();
  if (!now.id) save({ ...now, mode });
});

let changed = () => {};
let note = () => {};
let report = () => {};

// watch calls back when a login or its end, in whatever tab, changes the session, and for
// each request and remark, without tokens.
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
    if (event.persisted) changed(); // events are not kept for a page that was left
  });
}
