// This program runs jose for the tests. It reads commands from standard input, one JSON
// object a line, and answers each with a JSON object.
import { createInterface } from "node:readline";
import { createServer } from "node:http";
import * as jose from "jose";

const issuer = "https://issuer.example.com";
const published = []; // the public keys that the server below serves

const commands = {
  // Generates a key for an algorithm, and publishes it.
  async generate({ alg, kid }) {
    const { publicKey, privateKey } = await jose.generateKeyPair(alg, { extractable: true, modulusLength: 2048 });
    published.push({ ...(await jose.exportJWK(publicKey)), alg, kid, use: "sig" });
    keys.set(kid, { alg, privateKey });
    return {};
  },
  // Reads a private key in PEM, and publishes its public half.
  async import({ alg, kid, pem, publicPEM }) {
    keys.set(kid, { alg, privateKey: await jose.importPKCS8(pem, alg) });
    published.push({ ...(await jose.exportJWK(await jose.importSPKI(publicPEM, alg, { extractable: true }))), alg, kid, use: "sig" });
    return {};
  },
  async sign({ kid, container }) {
    const { alg, privateKey } = keys.get(kid);
    const token = await new jose.SignJWT({ container }).setProtectedHeader({ alg, kid, typ: "JWT" })
      .setIssuer(issuer).setSubject("alice").setIssuedAt().setExpirationTime("1h").sign(privateKey);
    return { token };
  },
  // Verifies a token by a JWK Set on a server.
  async verify({ token, jwks }) {
    const { payload, protectedHeader } = await jose.jwtVerify(token, jose.createRemoteJWKSet(new URL(jwks), { timeoutDuration: 60_000 }), { issuer, typ: "JWT" });
    return { payload, header: protectedHeader };
  },
  async thumbprint({ jwk }) {
    return { thumbprint: await jose.calculateJwkThumbprint(jwk) };
  },
};
const keys = new Map();

const server = createServer((request, response) => {
  response.setHeader("Content-Type", "application/jwk-set+json");
  response.end(JSON.stringify({ keys: published }));
});
server.listen(0, "127.0.0.1", async () => {
  console.log(JSON.stringify({ url: `http://127.0.0.1:${server.address().port}/` }));
  for await (const line of createInterface({ input: process.stdin })) {
    const { command, ...rest } = JSON.parse(line);
    console.log(JSON.stringify(await commands[command](rest).catch((error) => ({ error: error.code ?? String(error) }))));
  }
  process.exit(0);
});
