process.removeAllListeners("warning");
const { DatabaseSync } = require("node:sqlite");
const { serve } = require("../serve.cjs");
const db = new DatabaseSync("/tmp/small.db");
db.exec("create table if not exists t (n); delete from t; insert into t values (20), (22)");
serve("sqlite", db.prepare("select sum(n) as n from t").get().n);
