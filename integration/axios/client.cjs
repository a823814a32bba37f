// This client has an interceptor without a lock, as most tutorials show. Each call that
// gets a 401 refreshes by itself, with the token that is stored at that time.
const axios = require("axios");

const [url, loads, calls] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4])];
const localStorage = {};
let loggedOut = 0;
let refreshes = 0;

const login = async () => {
  const { data } = await axios.post(`${url}/auth/jwt/create/`, { email: "alice", password: "right" });
  Object.assign(localStorage, { access: data.access_token, refresh: data.refresh_token });
};

const api = axios.create({ baseURL: url });
api.interceptors.request.use((config) => {
  config.headers.Authorization = `Bearer ${localStorage.access}`;
  return config;
});
api.interceptors.response.use(
  (response) => response,
  async (error) => {
    const call = error.config;
    if (error.response?.status !== 401 || call.repeated) throw error;
    call.repeated = true;
    refreshes++;
    const { data } = await axios.post(`${url}/auth/jwt/refresh/`, { refresh_token: localStorage.refresh });
    Object.assign(localStorage, { access: data.access_token, refresh: data.refresh_token });
    return api(call);
  },
);

(async () => {
  await login();
  for (let load = 0; load < loads; load++) {
    await axios.post(`${url}/later`);
    const results = await Promise.allSettled(Array.from({ length: calls }, () => api.get("/api/me")));
    const lost = results.filter((r) => r.status === "rejected");
    if (lost.some((r) => r.reason.response?.status === 401 && r.reason.config.url.endsWith("/refresh/"))) {
      loggedOut++;
      await login();
    } else if (lost.length > 0) {
      throw new Error(`load ${load}: ${lost[0].reason.message}`);
    }
  }
  console.log(JSON.stringify({ loads, refreshes, loggedOut }));
})().catch((error) => {
  console.error(error.message);
  process.exit(1);
});
