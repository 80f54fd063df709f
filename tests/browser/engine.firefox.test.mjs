import { engineSuite } from "./engine.mjs";

engineSuite("firefox");
