import { kernelSuite } from "./kernels.mjs";

kernelSuite("chromium");
