import { serve } from "../serve.cjs";
import { word } from "dep/sub";
serve("dependency", word);
