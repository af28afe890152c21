process.send("three");
process.disconnect();
