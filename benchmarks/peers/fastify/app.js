// Fastify, and Mercurius with its JIT, over better-sqlite3's prepared statements, as their documentation has it.
import Database from "better-sqlite3";
import Fastify from "fastify";
import mercurius from "mercurius";
import { v7 } from "uuid";
import { schema, resolvers, loaders } from "./graphs.js";

const database = new Database(process.env.DATABASE);
database.pragma("journal_mode = WAL");
database.pragma("synchronous = NORMAL");
database.pragma("foreign_keys = ON");

const columns = "id, first_name, last_name, age, email, external_id, active, created_at, updated_at, version";
const readOne = database.prepare(`SELECT ${columns} FROM users WHERE id = ?`);
const readPage = database.prepare(`SELECT ${columns} FROM users WHERE id > ? ORDER BY id LIMIT ?`);
const insert = database.prepare(`INSERT INTO users (${columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`);
const readNumber = database.prepare("SELECT id, random_number AS randomNumber FROM world WHERE id = ?");
const writeNumber = database.prepare("UPDATE world SET random_number = ? WHERE id = ?");
const fortunes = database.prepare("SELECT id, message FROM fortune");

const text = { type: "string" };
const nullable = { type: "string", nullable: true };
const user = {
  type: "object",
  properties: {
    id: text,
    first_name: text,
    last_name: nullable,
    age: { type: "integer" },
    email: nullable,
    external_id: nullable,
    active: { type: "boolean" },
    created_at: text,
    updated_at: text,
    version: { type: "integer" },
  },
};
const page = { type: "object", properties: { items: { type: "array", items: user }, next: nullable } };
const world = { type: "object", properties: { id: { type: "integer" }, randomNumber: { type: "integer" } } };
const worlds = { type: "array", items: world };
const newUser = {
  type: "object",
  required: ["first_name", "age"],
  properties: {
    first_name: { type: "string", minLength: 1, maxLength: 100 },
    last_name: { type: "string", nullable: true, maxLength: 100 },
    age: { type: "integer", minimum: 0, maximum: 150 },
    email: { type: "string", nullable: true, maxLength: 254, pattern: "^[^@\\s]+@[^@\\s]+$" },
    external_id: { type: "string", nullable: true, maxLength: 255 },
    active: { type: "boolean", default: true },
  },
};

const app = Fastify({ logger: false });
const random = () => 1 + Math.floor(Math.random() * 10000);
const count = (request) => Math.min(Math.max(parseInt(request.query.queries, 10) || 1, 1), 500);
const escapes = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
const escaped = (message) => message.replace(/[&<>"']/g, (character) => escapes[character]);

app.get("/users/:id", { schema: { response: { 200: user } } }, async (request, reply) => {
  const found = readOne.get(request.params.id);
  return found ?? reply.code(404).send({ detail: "Not Found" });
});

app.get("/users", { schema: { response: { 200: page } } }, async (request) => {
  const limit = Number(request.query.limit ?? 20);
  const rows = readPage.all(request.query.after ?? "", limit + 1);
  const more = rows.length > limit;
  if (more) rows.pop();
  return { items: rows, next: more ? rows[limit - 1].id : null };
});

app.post("/users", { schema: { body: newUser, response: { 201: user } } }, async (request, reply) => {
  const given = request.body;
  const now = new Date().toISOString().replace("Z", "000Z");
  const row = {
    id: v7(),
    first_name: given.first_name,
    last_name: given.last_name ?? null,
    age: given.age,
    email: given.email ?? null,
    external_id: given.external_id ?? null,
    active: given.active ? 1 : 0,
    created_at: now,
    updated_at: now,
    version: 1,
  };
  try {
    insert.run(...Object.values(row));
  } catch (error) {
    if (error.code?.startsWith("SQLITE_CONSTRAINT")) return reply.code(409).send({ detail: "Conflict" });
    throw error;
  }
  return reply.code(201).send(row);
});

app.get("/queries", { schema: { response: { 200: worlds } } }, async (request) =>
  Array.from({ length: count(request) }, () => readNumber.get(random())),
);

const update = database.transaction((places) =>
  Array.from(places, (id) => {
    const found = readNumber.get(id);
    found.randomNumber = random();
    writeNumber.run(found.randomNumber, id);
    return found;
  }),
);
app.get("/updates", { schema: { response: { 200: worlds } } }, async (request) => {
  const places = new Set();
  while (places.size < count(request)) places.add(random());
  return update.immediate(places);
});

app.get("/fortunes", async (request, reply) => {
  const told = fortunes.all();
  told.push({ id: 0, message: "Additional fortune added at request time." });
  told.sort((one, other) => (one.message < other.message ? -1 : 1));
  const rows = told.map((it) => `<tr><td>${it.id}</td><td>${escaped(it.message)}</td></tr>`).join("");
  reply.type("text/html; charset=utf-8");
  return (
    "<!DOCTYPE html><html><head><title>Fortunes</title></head><body><table>" +
    `<tr><th>id</th><th>message</th></tr>${rows}</table></body></html>`
  );
});

const greeting = { type: "object", properties: { message: text } };
app.get("/json", { schema: { response: { 200: greeting } } }, async () => ({ message: "Hello, World!" }));
app.get("/plaintext", async (request, reply) => reply.type("text/plain; charset=utf-8").send("Hello, World!"));

app.register(mercurius, { schema, resolvers: resolvers(database), loaders: loaders(database), jit: 1 });
await app.listen({ port: Number(process.env.PORT), host: "127.0.0.1" });
