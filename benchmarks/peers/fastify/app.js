// Fastify, and Mercurius with its JIT, on SQLite over better-sqlite3's prepared statements, as their documentation recommends.
import Database from "better-sqlite3";
import Fastify from "fastify";
import mercurius from "mercurius";
import { schema, resolvers, loaders } from "./graphs.js";
import { columns, count, created, greeting, newUser, page, random, fortunesPage, user, worlds } from "./shared.js";

const database = new Database(process.env.DATABASE);
database.pragma("journal_mode = WAL");
database.pragma("synchronous = NORMAL");
database.pragma("foreign_keys = ON");

const readOne = database.prepare(`SELECT ${columns} FROM users WHERE id = ?`);
const readPage = database.prepare(`SELECT ${columns} FROM users WHERE id > ? ORDER BY id LIMIT ?`);
const insert = database.prepare(`INSERT INTO users (${columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`);
const readNumber = database.prepare("SELECT id, random_number AS randomNumber FROM world WHERE id = ?");
const writeNumber = database.prepare("UPDATE world SET random_number = ? WHERE id = ?");
const fortunes = database.prepare("SELECT id, message FROM fortune");

const app = Fastify({ logger: false });

app.get("/users/:id", { schema: { response: { 200: user } } }, async (request, reply) => {
  const record = readOne.get(request.params.id);
  return record ?? reply.code(404).send({ detail: "Not Found" });
});

app.get("/users", { schema: { response: { 200: page } } }, async (request) => {
  const limit = Number(request.query.limit ?? 20);
  const rows = readPage.all(request.query.after ?? "", limit + 1);
  const more = rows.length > limit;
  if (more) rows.pop();
  return { items: rows, next: more ? rows[limit - 1].id : null };
});

app.post("/users", { schema: { body: newUser, response: { 201: user } } }, async (request, reply) => {
  const row = { ...created(request.body), active: request.body.active ? 1 : 0 };
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
    const row = readNumber.get(id);
    row.randomNumber = random();
    writeNumber.run(row.randomNumber, id);
    return row;
  }),
);
app.get("/updates", { schema: { response: { 200: worlds } } }, async (request) => {
  const places = new Set();
  while (places.size < count(request)) places.add(random());
  return update.immediate(places);
});

app.get("/fortunes", async (request, reply) => {
  reply.type("text/html; charset=utf-8");
  return fortunesPage(fortunes.all());
});

app.get("/json", { schema: { response: { 200: greeting } } }, async () => ({ message: "Hello, World!" }));
app.get("/plaintext", async (request, reply) => reply.type("text/plain; charset=utf-8").send("Hello, World!"));

app.register(mercurius, { schema, resolvers: resolvers(database), loaders: loaders(database), jit: 1 });
await app.listen({ port: Number(process.env.PORT), host: "127.0.0.1" });
