// What both databases share: JSON schemas, new records, and the page of fortunes.
import { v7 } from "uuid";

export const columns = "id, first_name, last_name, age, email, external_id, active, created_at, updated_at, version";

const text = { type: "string" };
const nullable = { type: "string", nullable: true };
export const user = {
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
export const page = { type: "object", properties: { items: { type: "array", items: user }, next: nullable } };
const world = { type: "object", properties: { id: { type: "integer" }, randomNumber: { type: "integer" } } };
export const worlds = { type: "array", items: world };
export const newUser = {
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
export const greeting = { type: "object", properties: { message: text } };

export const random = () => 1 + Math.floor(Math.random() * 10000);
export const count = (request) => Math.min(Math.max(parseInt(request.query.queries, 10) || 1, 1), 500);
const escapes = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
const escaped = (message) => message.replace(/[&<>"']/g, (character) => escapes[character]);

export function created(body) {
  const now = new Date().toISOString().replace("Z", "000Z");
  return {
    id: v7(),
    first_name: body.first_name,
    last_name: body.last_name ?? null,
    age: body.age,
    email: body.email ?? null,
    external_id: body.external_id ?? null,
    active: body.active,
    created_at: now,
    updated_at: now,
    version: 1,
  };
}

export function fortunesPage(fortunes) {
  fortunes.push({ id: 0, message: "Additional fortune added at request time." });
  fortunes.sort((one, other) => (one.message < other.message ? -1 : 1));
  const rows = fortunes.map((row) => `<tr><td>${row.id}</td><td>${escaped(row.message)}</td></tr>`).join("");
  return (
    "<!DOCTYPE html><html><head><title>Fortunes</title></head><body><table>" +
    `<tr><th>id</th><th>message</th></tr>${rows}</table></body></html>`
  );
}
