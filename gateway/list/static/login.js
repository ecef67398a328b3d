// The page of a refusal: the way out, for who is logged in under the wrong name.

import { startSession } from "./session.js";

startSession();
