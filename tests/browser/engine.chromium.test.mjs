import { engineSuite } from "./engine.mjs";

engineSuite("chromium");
