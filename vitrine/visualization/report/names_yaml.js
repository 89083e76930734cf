"use strict";
// Text of names.yaml. Strings of JSON are strings of YAML, but for characters that YAML takes for breaks or does not print.

const yamlString = (text) => JSON.stringify(text).replace(/[\u007f-\u009f\u2028\u2029\ufeff\ufffe\uffff]/g,
  (letter) => `\\u${letter.charCodeAt(0).toString(16).padStart(4, "0")}`);

const yamlOfNames = (names) => {
  const lines = ["# Names of x-features: the first line of a class is its x-feature 1; '' where there is no name yet."];
  for (const [className, entries] of names) {
    lines.push(`${yamlString(className)}:`, ...entries.map((name) => `- ${yamlString(name)}`));
  }
  return `${lines.join("\n")}\n`;
};
