import { e2eSuite } from "./e2e.mjs";

e2eSuite("chromium");
