// This is a typical client of djangorestframework-simplejwt: axios, and a package that
// refreshes on 401. It exits with 1 if a response differs from that of Django.
const assert = require("node:assert/strict");
const axios = require("axios");
const { createAuthRefresh } = require("axios-auth-refresh");

const settings = { baseURL: process.argv[2], timeout: 20000, proxy: false };
const api = axios.create(settings), plain = axios.create(settings);
const tokens = {};
let refreshes = 0;

api.interceptors.request.use((config) => {
  if (tokens.access) config.headers.Authorization = `Bearer ${tokens.access}`;
  return config;
});
createAuthRefresh(api, async () => {
  refreshes++;
  Object.assign(tokens, (await plain.post("/auth/jwt/refresh/", { refresh: tokens.refresh })).data);
}, { shouldRefresh: (error) => error.response?.status === 401 && error.response.data?.code === "token_not_valid", deduplicateRefresh: false, maxRetries: 1 });

const refused = async (promise) => {
  const error = await promise.then(() => assert.fail("it was not refused"), (error) => error);
  assert.ok(error.response, error);
  return { status: error.response.status, data: error.response.data, challenge: error.response.headers["www-authenticate"] };
};

(async () => {
  assert.deepEqual(await refused(api.get("/api/me/")), {
    status: 401, data: { detail: "Authentication credentials were not provided." }, challenge: 'Bearer realm="api"' });
  assert.deepEqual((await refused(plain.post("/auth/jwt/create/", { username: "alice", password: "wrong" }))).data,
    { detail: "No active account found with the given credentials" });
  assert.deepEqual(await refused(plain.post("/auth/jwt/create/", { username: "alice" })).then((r) => [r.status, r.data]),
    [400, { password: ["This field is required."] }]);

  const login = (await plain.post("/auth/jwt/create/", { username: "alice", password: "right" })).data;
  assert.deepEqual(Object.keys(login).sort(), ["access", "refresh"]);
  Object.assign(tokens, login);
  assert.deepEqual((await api.get("/api/me/")).data, { user: "alice" });
  assert.deepEqual((await plain.post("/auth/jwt/verify/", { token: tokens.access })).data, {});

  await plain.post("/expire");
  assert.deepEqual((await refused(plain.get("/api/me/", { headers: { Authorization: `Bearer ${tokens.access}` } }))).data, {
    detail: "Given token not valid for any token type", code: "token_not_valid",
    messages: [{ token_class: "AccessToken", token_type: "access", message: "Token is expired" }] });
  await plain.post("/together");
  const answers = await Promise.all([1, 2, 3].map(() => api.get("/api/me/")));
  assert.deepEqual(answers.map((answer) => answer.data.user), ["alice", "alice", "alice"]);
  assert.ok(refreshes >= 1); // the package decides how often; the same token gives the same successor again
  assert.notEqual(tokens.refresh, login.refresh);

  assert.deepEqual((await plain.post("/auth/jwt/blacklist/", { refresh: tokens.refresh })).data, {});
  assert.deepEqual((await refused(plain.post("/auth/jwt/refresh/", { refresh: tokens.refresh }))).data,
    { detail: "Token is blacklisted", code: "token_not_valid" });
  console.log("all as Django would have it");
})().catch((error) => {
  console.error(error);
  process.exit(1);
});
