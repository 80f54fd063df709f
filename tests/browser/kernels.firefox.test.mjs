import { kernelSuite } from "./kernels.mjs";

kernelSuite("firefox");
